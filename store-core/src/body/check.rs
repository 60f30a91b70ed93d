//! Measures a value's JSON without writing it, and refuses what some backend
//! could not store or would hand back changed.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};

use crate::error::{Error, Result};

mod map_key;

use map_key::MapKey;

/// The length in bytes of the JSON that `serde_json::to_vec` would write.
pub(super) fn measure<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    let mut counter = Counter { size: 0 };
    value.serialize(&mut counter).map_err(|refusal| refusal.0)?;
    Ok(counter.size)
}

struct Counter {
    size: usize,
}

#[derive(Debug)]
struct Refusal(Error);

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: Display>(_: T) -> Self {
        // The text is a value's own and may quote its content.
        Self(Error::invalid(
            "the value's own Serialize implementation refused it; check its fields",
        ))
    }
}

type Checked = std::result::Result<(), Refusal>;

fn refuse(message: &'static str) -> Checked {
    Err(Refusal(Error::invalid(message)))
}

impl Counter {
    fn add(&mut self, bytes: usize) -> Checked {
        self.size += bytes;
        Ok(())
    }

    fn string(&mut self, text: &str) -> Checked {
        let extra = if is_escaped(text) { escapes(text)? } else { 0 };
        self.add(text.len() + extra + 2)
    }

    fn display(&mut self, value: impl Display) -> Checked {
        struct Count(usize);
        impl fmt::Write for Count {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 += text.len();
                Ok(())
            }
        }
        let mut count = Count(0);
        let _ = fmt::Write::write_fmt(&mut count, format_args!("{value}"));
        self.add(count.0)
    }

    fn unsigned(&mut self, value: u64) -> Checked {
        self.add(
            value
                .checked_ilog10()
                .map_or(1, |digits| digits as usize + 1),
        )
    }

    fn float<T: Serialize>(&mut self, finite: bool, value: T) -> Checked {
        if !finite {
            return refuse("a number is not finite, which JSON has no form for");
        }
        // Floats are rare in stored values; the writer itself knows their length.
        let text = serde_json::to_string(&value)
            .map_err(|e| Refusal(Error::invalid("a number cannot be written").with_source(e)))?;
        self.add(text.len())
    }

    fn compound(
        &mut self,
        variant: Option<&'static str>,
    ) -> std::result::Result<Compound<'_>, Refusal> {
        let mut closing = 1;
        if let Some(variant) = variant {
            self.add(1)?;
            self.string(variant)?;
            self.add(1)?;
            closing += 1;
        }
        self.add(1)?;
        Ok(Compound {
            counter: self,
            first: true,
            closing,
        })
    }
}

/// Whether serde_json escapes anything in `text`.
fn is_escaped(text: &str) -> bool {
    const ESCAPED: [bool; 256] = {
        let mut escaped = [false; 256];
        let mut byte = 0;
        while byte < 0x20 {
            escaped[byte] = true;
            byte += 1;
        }
        escaped[b'"' as usize] = true;
        escaped[b'\\' as usize] = true;
        escaped
    };
    let mut wide = text.as_bytes().chunks_exact(32);
    // Without a branch, so that the compiler looks at many bytes at once; a
    // table is quicker for the few that most texts have, or end with.
    let found = wide.by_ref().any(|bytes| {
        bytes.iter().fold(false, |found, &byte| {
            found | (byte < 0x20) | (byte == b'"') | (byte == b'\\')
        })
    });
    let rest = wide.remainder().iter();
    found | rest.fold(false, |found, &byte| found | ESCAPED[usize::from(byte)])
}

/// How many bytes serde_json's escaping adds.
fn escapes(text: &str) -> std::result::Result<usize, Refusal> {
    let mut extra = 0;
    for byte in text.bytes() {
        extra += match byte {
            0 => {
                return Err(Refusal(Error::invalid(
                    "a string holds a NUL, which not every backend can store; \
                     remove it or store the value as bytes",
                )));
            }
            b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 1,
            0x01..0x20 => 5,
            _ => 0,
        };
    }
    Ok(extra)
}

struct Compound<'a> {
    counter: &'a mut Counter,
    first: bool,
    closing: usize,
}

impl Compound<'_> {
    fn separator(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.counter.size += 1;
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.separator();
        value.serialize(&mut *self.counter)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Checked {
        self.separator();
        self.counter.string(name)?;
        self.counter.size += 1;
        value.serialize(&mut *self.counter)
    }

    fn close(self) -> Checked {
        self.counter.add(self.closing)
    }
}

impl<'a> ser::Serializer for &'a mut Counter {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, v: bool) -> Checked {
        self.add(if v { 4 } else { 5 })
    }
    fn serialize_i8(self, v: i8) -> Checked {
        self.serialize_i64(v.into())
    }
    fn serialize_i16(self, v: i16) -> Checked {
        self.serialize_i64(v.into())
    }
    fn serialize_i32(self, v: i32) -> Checked {
        self.serialize_i64(v.into())
    }
    fn serialize_i64(self, v: i64) -> Checked {
        self.add(usize::from(v < 0))?;
        self.unsigned(v.unsigned_abs())
    }
    fn serialize_i128(self, v: i128) -> Checked {
        match (i64::try_from(v), u64::try_from(v)) {
            (Ok(v), _) => self.serialize_i64(v),
            (_, Ok(v)) => self.unsigned(v),
            _ => refuse("a whole number needs more than 64 bits; store it as text"),
        }
    }
    fn serialize_u8(self, v: u8) -> Checked {
        self.unsigned(v.into())
    }
    fn serialize_u16(self, v: u16) -> Checked {
        self.unsigned(v.into())
    }
    fn serialize_u32(self, v: u32) -> Checked {
        self.unsigned(v.into())
    }
    fn serialize_u64(self, v: u64) -> Checked {
        self.unsigned(v)
    }
    fn serialize_u128(self, v: u128) -> Checked {
        match u64::try_from(v) {
            Ok(v) => self.unsigned(v),
            Err(_) => refuse("a whole number needs more than 64 bits; store it as text"),
        }
    }
    fn serialize_f32(self, v: f32) -> Checked {
        self.float(v.is_finite(), v)
    }
    fn serialize_f64(self, v: f64) -> Checked {
        self.float(v.is_finite(), v)
    }
    fn serialize_char(self, v: char) -> Checked {
        self.string(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Checked {
        self.string(v)
    }
    fn serialize_bytes(self, v: &[u8]) -> Checked {
        let mut list = self.compound(None)?;
        for byte in v {
            list.element(byte)?;
        }
        list.close()
    }
    fn serialize_none(self) -> Checked {
        self.add(4)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Checked {
        self.add(4)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Checked {
        self.add(4)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Checked {
        self.string(variant)
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
        variant: &'static str,
        value: &T,
    ) -> Checked {
        self.add(1)?;
        self.string(variant)?;
        self.add(1)?;
        value.serialize(&mut *self)?;
        self.add(1)
    }
    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(None)
    }
    fn serialize_tuple(self, _: usize) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(None)
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(None)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(Some(variant))
    }
    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(None)
    }
    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(None)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> std::result::Result<Compound<'a>, Refusal> {
        self.compound(Some(variant))
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Checked {
        self.string(&value.to_string())
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.element(value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.element(value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.element(value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.element(value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Checked {
        self.separator();
        key.serialize(MapKey(&mut *self.counter))
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.counter.size += 1;
        value.serialize(&mut *self.counter)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Checked {
        self.field(name, value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Refusal;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Checked {
        self.field(name, value)
    }
    fn end(self) -> Checked {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::measure;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(i32),
        Tuple(u8, Option<char>),
        Struct {
            deep: Vec<Shape>,
            text: &'static str,
        },
    }

    fn agrees<T: Serialize>(value: T) {
        let written = serde_json::to_string(&value).unwrap();
        assert_eq!(measure(&value).unwrap(), written.len(), "{written}");
    }

    #[test]
    fn the_measure_equals_what_is_written() {
        agrees((0u64, u64::MAX, i64::MIN, -1, 9, 10, 99, 100));
        agrees((1.5, 1e300, -0.0, 0.1f32, f64::MIN_POSITIVE, 1.0));
        agrees((true, false, (), 'x', '"', "\u{1}\u{8}\u{c}\u{7f}\r\n\t\\é𝄞"));
        agrees(Vec::<u8>::new());
        agrees([[1, 2], [3, 4]]);
        agrees(BTreeMap::from([(1, "a"), (22, "b")]));
        agrees(BTreeMap::from([("k\"", Some(1)), ("", None)]));
        agrees(vec![
            Shape::Unit,
            Shape::New(-5),
            Shape::Tuple(7, None),
            Shape::Struct {
                deep: vec![Shape::Unit],
                text: "t",
            },
        ]);
        agrees(serde_json::json!({"a": [1, 2.5, null, {"b": "c"}], "d": {}}));
        agrees((7i128, u128::from(u64::MAX)));
    }

    #[test]
    fn what_some_backend_could_not_keep_is_refused() {
        for refused in [
            measure("a\0b"),
            measure(&BTreeMap::from([("a\0", 1)])),
            measure(&'\0'),
            measure(&f64::NAN),
            measure(&f32::INFINITY),
            measure(&u128::MAX),
            measure(&i128::MIN),
            measure(&BTreeMap::from([(vec![1], 1)])),
        ] {
            assert_eq!(refused.unwrap_err().kind(), crate::ErrorKind::InvalidInput);
        }
    }
}
