//! Identity over the store in memory: what conformance cases, which run over
//! any implementation, cannot ask.

mod apart;
mod costs;
mod family;
mod golden;
