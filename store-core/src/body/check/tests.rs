//! Measures and refusals.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure;

#[derive(Serialize)]
enum Shape {
    Unit,
    New(i32),
    Tuple(u8, Option<char>),
    Boxed(Box<Shape>),
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

fn refused<T: Serialize>(value: &T) {
    let error = measure(value).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
}

/// Arrays in each other; dismantled without recursion when it is dropped.
struct Nested(serde_json::Value);

impl Nested {
    fn new(depth: usize) -> Self {
        Self((0..depth).fold(serde_json::Value::Null, |inner, _| vec![inner].into()))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        while let serde_json::Value::Array(inner) = &mut self.0 {
            self.0 = inner.pop().unwrap_or_default();
        }
    }
}

#[test]
fn a_value_may_be_nested_to_the_bound_and_no_deeper() {
    measure(&Nested::new(super::MAX_NESTING).0).unwrap();
    for depth in [super::MAX_NESTING + 1, 127, 10_000] {
        refused(&Nested::new(depth).0);
    }
}

#[test]
fn the_levels_of_a_variant_count() {
    let nested = |levels| (0..levels).fold(Shape::Unit, |inner, _| Shape::Boxed(inner.into()));
    measure(&nested(super::MAX_NESTING)).unwrap();
    refused(&nested(super::MAX_NESTING + 1));
    let wide: Vec<_> = (0..1000).map(|_| nested(3)).collect();
    measure(&wide).unwrap();
}

#[test]
fn a_name_may_occur_once_in_an_object() {
    #[derive(Serialize)]
    struct Flat {
        role: u8,
        #[serde(flatten)]
        more: BTreeMap<String, u8>,
    }
    let flat = |names: &[&str]| Flat {
        role: 1,
        more: names.iter().map(|name| ((*name).into(), 2)).collect(),
    };
    measure(&flat(&["Role", "role ", "rol"])).unwrap();
    refused(&flat(&["role"]));
    let many: Vec<String> = (0..5000).map(|i| format!("name {i}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    measure(&flat(&many)).unwrap();
    many.push("role");
    refused(&flat(&many));
    // The same name in another object is another member.
    measure(&[flat(&["a"]), flat(&["a"])]).unwrap();
    measure(&BTreeMap::from([("a", BTreeMap::from([("a", 1)]))])).unwrap();
    refused(&vec![flat(&["a"]), flat(&["role"])]);
}

#[test]
fn a_struct_may_name_each_field_once() {
    #[derive(Serialize)]
    struct Renamed {
        role: u8,
        #[serde(rename = "role")]
        other: u8,
    }
    #[derive(Serialize)]
    enum Tagged {
        Renamed {
            role: u8,
            #[serde(rename = "role")]
            other: u8,
        },
    }
    let renamed = Renamed { role: 1, other: 2 };
    refused(&renamed);
    refused(&[BTreeMap::from([("inner", renamed)])]);
    refused(&Tagged::Renamed { role: 1, other: 2 });
}

#[test]
fn raw_json_is_refused_because_its_content_is_not_visited() {
    struct Raw;
    impl Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut raw = serializer.serialize_struct(super::RAW_VALUE, 1)?;
            raw.serialize_field(super::RAW_VALUE, r#"{"a": 1, "a": 2}"#)?;
            raw.end()
        }
    }
    refused(&Raw);
    refused(&vec![Raw]);
}

#[test]
fn what_some_backend_could_not_store_is_refused() {
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
