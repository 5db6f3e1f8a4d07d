//! The console in a real browser.

mod feed;
mod pages;
