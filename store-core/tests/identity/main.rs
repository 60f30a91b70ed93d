//! Tests of identity that depend on the standard implementation, so that they cannot be
//! conformance cases.

mod apart;
mod costs;
mod family;
mod golden;
