//! What the store does to bodies, and mutants of it.

use serde_json::{Map, Value};
use store_core::body::Encoded;
use store_core::{Body, Result};

use super::Flaw;

/// The body that is stored over `old`.
pub(super) fn overwritten(flaw: Option<Flaw>, old: &Body, new: &Body) -> Result<Body> {
    let fields = |body: &Body| body.decode::<Map<String, Value>>();
    if let (Ok(old), Ok(new)) = (fields(old), fields(new)) {
        let mut stored = (*new).clone();
        match flaw {
            Some(Flaw::StoresOnlyChangedFields) => {
                stored.retain(|name, field| old.get(name) != Some(field));
                return Body::json(stored);
            }
            Some(Flaw::MergesOnOverwrite) => {
                stored = (*old).clone();
                stored.extend((*new).clone());
                return Body::json(stored);
            }
            _ => {}
        }
    }
    stored(flaw, new)
}

/// The body as it is read from the disk.
pub(super) fn stored(flaw: Option<Flaw>, body: &Body) -> Result<Body> {
    match (flaw, body.encoded()?) {
        (Some(Flaw::StoresBytesAsText), Encoded::Bytes(bytes)) => {
            Body::bytes(String::from_utf8_lossy(&bytes).into_owned())
        }
        (Some(Flaw::StoresNumbersAsFloats), Encoded::Json(json)) => {
            let text = String::from_utf8_lossy(&json).replace("18446744073709551615", "1.8e19");
            Ok(Body::from_json(text.into_bytes()))
        }
        (Some(Flaw::PrintsNumbersInFull), Encoded::Json(json)) => {
            let digits = format!("1{}", "0".repeat(308));
            let text = String::from_utf8_lossy(&json).replace("1e+308", &digits);
            Ok(Body::from_json(text.into_bytes()))
        }
        (Some(Flaw::CutsDeepValues), Encoded::Json(json))
            if json.iter().filter(|byte| **byte == b'[').count() > 45 =>
        {
            Body::json(())
        }
        _ => body.round_trip(),
    }
}

/// Whether two bodies are stored as the same bytes.
pub(super) fn same(a: &Body, b: &Body) -> bool {
    match (a.encoded(), b.encoded()) {
        (Ok(Encoded::Json(a)), Ok(Encoded::Json(b))) => a == b,
        (Ok(Encoded::Bytes(a)), Ok(Encoded::Bytes(b))) => a == b,
        _ => false,
    }
}
