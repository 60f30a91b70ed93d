//! What a map's key becomes, and how two equal ones are recognized.

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::{Checked, Counter, Refusal, refuse};
use crate::error::Error;

/// A map's key: text, or what serde_json writes between quotes.
pub(super) struct MapKey<'a>(pub(super) &'a mut Counter);

const NOT_TEXT: &str = "a map's keys must be text, whole numbers or booleans";

macro_rules! quoted {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, v: $type) -> Checked {
            self.0.name(&v.to_string())
        })*
    };
}

impl ser::Serializer for MapKey<'_> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = ser::Impossible<(), Refusal>;
    type SerializeTuple = ser::Impossible<(), Refusal>;
    type SerializeTupleStruct = ser::Impossible<(), Refusal>;
    type SerializeTupleVariant = ser::Impossible<(), Refusal>;
    type SerializeMap = ser::Impossible<(), Refusal>;
    type SerializeStruct = ser::Impossible<(), Refusal>;
    type SerializeStructVariant = ser::Impossible<(), Refusal>;

    quoted! {
        serialize_bool: bool,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_i128: i128, serialize_u128: u128,
    }

    fn serialize_f32(self, _: f32) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_f64(self, _: f64) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_char(self, v: char) -> Checked {
        self.0.name(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Checked {
        self.0.name(v)
    }
    fn serialize_bytes(self, _: &[u8]) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_none(self) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_unit(self) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Checked {
        self.0.name(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Checked {
        refuse(NOT_TEXT)
    }
    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Self::SerializeSeq, Refusal> {
        Err(not_text())
    }
    fn serialize_tuple(self, _: usize) -> std::result::Result<Self::SerializeTuple, Refusal> {
        Err(not_text())
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self::SerializeTupleStruct, Refusal> {
        Err(not_text())
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self::SerializeTupleVariant, Refusal> {
        Err(not_text())
    }
    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Self::SerializeMap, Refusal> {
        Err(not_text())
    }
    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self::SerializeStruct, Refusal> {
        Err(not_text())
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self::SerializeStructVariant, Refusal> {
        Err(not_text())
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Checked {
        self.0.name(&value.to_string())
    }
}

fn not_text() -> Refusal {
    Refusal(Error::invalid(NOT_TEXT))
}

/// A hash that spreads names over 64 bits. Two different names with one hash are so
/// improbable that the body may be refused as if the names were equal.
pub(super) fn hash(name: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR | 1 << 63);
        // Both halves of the product, so that every bit reaches all others.
        (product as u64) ^ (product >> 64) as u64
    };
    let mut chunks = name.chunks_exact(8);
    let mut hash = FACTOR ^ name.len() as u64;
    for chunk in &mut chunks {
        hash = mix(
            hash,
            u64::from_le_bytes(chunk.try_into().expect("eight bytes")),
        );
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), FACTOR)
}
