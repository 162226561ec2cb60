//! Components and schemas that are small and cost a compiler or a validator everything.

use serde_json::{Value, json};

/// A good component with a core module that nobody instantiates, with a function whose many variables meet in many
/// blocks. What a compiler keeps of a function grows with the product of the two.
pub(crate) fn wide(good: &[u8]) -> Vec<u8> {
    with_functions(good, 1, &function(3_000, 3_000))
}

/// The same with many ordinary functions: it takes minutes, and little memory at a time.
pub(crate) fn long(good: &[u8]) -> Vec<u8> {
    with_functions(good, 4_000, &function(60, 60))
}

/// The component with a core module of so many functions with this body.
fn with_functions(good: &[u8], number: usize, body: &[u8]) -> Vec<u8> {
    let function = [leb(body.len()), body.to_vec()].concat();
    let code = [leb(number), function.repeat(number)].concat();
    let functions = [leb(number), vec![0; number]].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &functions),
        section(10, &code),
    ]
    .concat();
    [good.to_vec(), section(1, &module)].concat()
}

/// The body of a function with so many variables, each written in one of so many loops and read at the end.
fn function(variables: usize, blocks: usize) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(leb(variables));
    body.push(0x7f);
    for block in 0..blocks {
        // loop; local.get 0; br_if 0; i32.const; local.set; end
        body.extend([0x03, 0x40, 0x20, 0x00, 0x0d, 0x00, 0x41]);
        body.extend(sleb(block));
        body.push(0x21);
        body.extend(leb(block % variables));
        body.push(0x0b);
    }
    for variable in 0..variables {
        // local.get; drop
        body.push(0x20);
        body.extend(leb(variable));
        body.push(0x1a);
    }
    body.push(0x0b);
    body
}

/// Each level asks for the next one twice, and in the end it is refused: all ways are tried.
pub(crate) fn slow_schema() -> Value {
    levels(60, |next| json!({"anyOf": [next, next]}))
}

/// The same without references: the validator is as large as what it tries.
pub(crate) fn large_schema() -> Value {
    levels(60, |next| json!({"allOf": [{"not": next}, {"not": next}]}))
}

fn levels(number: usize, level: impl Fn(&Value) -> Value) -> Value {
    let mut definitions: serde_json::Map<String, Value> = (0..number)
        .map(|at| (format!("l{at}"), level(&json!({"$ref": format!("#/$defs/l{}", at + 1)}))))
        .collect();
    definitions.insert(format!("l{number}"), json!({"type": "integer"}));
    json!({"$ref": "#/$defs/l0", "$defs": definitions})
}

/// A section of a component or a module.
pub(crate) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// A number without a sign (LEB128).
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
    bytes
}

/// A positive number with a sign (LEB128).
fn sleb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x40 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
    bytes
}
