//! Several servers on one log, and the switch of the bus under it.

mod cluster;
mod switch;
