//! Measures a value's JSON without writing it, and refuses what some backend could not
//! store or would return changed.
//!
//! serde_json can measure a value only by writing it, and it accepts what is refused here:
//! NUL in strings, deep nesting, and two members of one name. So this is a serializer of
//! its own.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};

use crate::error::{Error, Result};

mod map_key;

use map_key::{MapKey, hash};

/// The length in bytes of the JSON that `serde_json::to_vec` would write.
pub(super) fn measure<T: Serialize + ?Sized>(value: &T) -> Result<usize> {
    let mut counter = Counter {
        size: 0,
        depth: 0,
        names: Vec::new(),
    };
    value.serialize(&mut counter).map_err(|refusal| refusal.0)?;
    Ok(counter.size)
}

/// How deeply arrays and objects may be nested in a body.
///
/// serde_json reads 127 levels. The bound is lower, so that a value that was
/// accepted can still be read by a tool that wraps it in a few more.
pub const MAX_NESTING: usize = 100;

/// The name by which `serde_json::value::RawValue` makes itself known to serializers.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

struct Counter {
    size: usize,
    depth: usize,
    /// Hashes of the names in the objects that are open, outermost first.
    names: Vec<u64>,
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

    /// Opens one array or object. Called before its content is visited, so that
    /// a value of any depth is refused before the recursion reaches its bottom.
    fn enter(&mut self) -> Checked {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return refuse(
                "the value is nested deeper than 100 arrays and objects; \
                 flatten it, or store it as bytes",
            );
        }
        self.add(1)
    }

    /// The name of a member of the innermost object.
    fn name(&mut self, name: &str) -> Checked {
        self.names.push(hash(name.as_bytes()));
        self.string(name)
    }

    fn compound(
        &mut self,
        variant: Option<&'static str>,
    ) -> std::result::Result<Compound<'_>, Refusal> {
        let mut levels = 1;
        if let Some(variant) = variant {
            self.enter()?;
            self.string(variant)?;
            self.add(1)?;
            levels += 1;
        }
        self.enter()?;
        Ok(Compound {
            first_name: self.names.len(),
            counter: self,
            first: true,
            levels,
        })
    }

    /// Refuses two equal names among those from `first` on, and forgets them.
    /// Readers differ in which of two members they take.
    fn distinct(&mut self, first: usize) -> Checked {
        if self.names.len() <= first + 1 {
            self.names.truncate(first);
            return Ok(());
        }
        let names = &mut self.names[first..];
        let repeated = if names.len() <= 8 {
            let mut rest = &*names;
            let mut found = false;
            while let Some((name, others)) = rest.split_first() {
                found |= others.contains(name);
                rest = others;
            }
            found
        } else {
            names.sort_unstable();
            names.windows(2).any(|pair| pair[0] == pair[1])
        };
        self.names.truncate(first);
        if repeated {
            return refuse(
                "an object has two members of one name; rename a field, \
                 or remove it from the flattened map",
            );
        }
        Ok(())
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
    /// How many arrays and objects it closes.
    levels: usize,
    /// Where this object's names begin.
    first_name: usize,
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
        self.counter.name(name)?;
        self.counter.size += 1;
        value.serialize(&mut *self.counter)
    }

    fn close(self) -> Checked {
        self.counter.distinct(self.first_name)?;
        self.counter.depth -= self.levels;
        self.counter.add(self.levels)
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
        self.enter()?;
        self.string(variant)?;
        self.add(1)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
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
        name: &'static str,
        _: usize,
    ) -> std::result::Result<Compound<'a>, Refusal> {
        if name == RAW_VALUE {
            refuse("a RawValue is JSON that is not checked; store a serde_json::Value")?;
        }
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
mod tests;
