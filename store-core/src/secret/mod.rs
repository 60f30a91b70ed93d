//! Keys that protect what is stored: a ring of them, so that they can rotate.
//!
//! One [`KeyRing`] serves every purpose: each use derives a key of its own from
//! it, by name, so that a digest never reveals anything about a sealed field.
//!
//! Secret fields of records are sealed with it: see [`Sealed`] and
//! [`SecretField`].

#[cfg(feature = "secret")]
mod digest;
#[cfg(feature = "secret")]
mod ring;
#[cfg(feature = "secret")]
pub mod seal;
mod text;

#[cfg(feature = "secret")]
pub use digest::{Digest, Digester, bucket};
#[cfg(feature = "secret")]
pub use ring::KeyRing;
#[cfg(feature = "secret")]
pub use seal::{Sealed, SecretField};
pub use text::Secret;
