//! The console in a real browser.

mod feed;
mod identity;
mod keys;
mod origins;
mod pages;
mod schemas;
