//! The notation of the calls in a fixture: `[file!]name[@version](type value, …) -> type [= expected]`.

use crate::signature::{Signature, Type};

/// One call, with its arguments.
pub struct FixtureCall {
    /// The file of the fixture that has the function; `None` for its main file.
    pub file: Option<String>,
    /// The version of the symbol.
    pub version: Option<String>,
    /// Name and types.
    pub signature: Signature,
    /// The arguments as text, strings without quotes.
    pub arguments: Vec<String>,
    /// The result under a correct loader.
    pub expected: Option<String>,
}

impl FixtureCall {
    /// Reads a call in this notation.
    pub fn parse(text: &str) -> Result<FixtureCall, String> {
        let wrong = || format!("the call {text:?} is not of the form name(type value, …) -> type = result");
        let (head, rest) = text.split_once('(').ok_or_else(wrong)?;
        let (inside, behind) = rest.rsplit_once(") -> ").ok_or_else(wrong)?;
        let (file, head) = match head.split_once('!') {
            Some((file, head)) => (Some(file.to_string()), head),
            None => (None, head),
        };
        let (name, version) = match head.split_once('@') {
            Some((name, version)) => (name, Some(version.to_string())),
            None => (head, None),
        };
        let (result, expected) = match behind.split_once(" = ") {
            Some((result, expected)) => (result, Some(expected.trim().to_string())),
            None => (behind, None),
        };
        let (parameters, arguments) = arguments(inside)?.into_iter().unzip();
        let signature = Signature { name: name.into(), parameters, result: Type::parse(result.trim())? };
        Ok(FixtureCall { file, version, signature, arguments, expected })
    }

    /// The call as in C: `add(40, 2)`.
    pub fn shown(&self) -> String {
        let argument = |(ty, text): (&Type, &String)| match ty {
            Type::Str => format!("{text:?}"),
            _ => text.clone(),
        };
        let arguments: Vec<_> = self.signature.parameters.iter().zip(&self.arguments).map(argument).collect();
        let version = self.version.as_ref().map_or(String::new(), |version| format!("@{version}"));
        format!("{}{version}({})", self.signature.name, arguments.join(", "))
    }

    /// The result in the notation of fixtures, which has strings in quotes.
    pub fn written(&self, result: Option<&str>) -> String {
        match (self.signature.result, result) {
            (Type::Str, Some(text)) => format!("{text:?}"),
            (_, Some(text)) => text.into(),
            (_, None) => "(nothing)".into(),
        }
    }
}

/// Reads `i32 40, str "a, b"`. A comma inside of quotes does not separate arguments.
fn arguments(text: &str) -> Result<Vec<(Type, String)>, String> {
    let mut arguments = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (ty, value) = rest.split_once(' ').ok_or_else(|| format!("{rest:?} is not a type and a value"))?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| format!("{value}: the quote is not closed"))?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        arguments.push((Type::parse(ty)?, value.trim().to_string()));
        rest = behind.trim_start_matches(',').trim();
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::FIXTURES;

    #[test]
    fn a_call_is_taken_apart() {
        let call = FixtureCall::parse("libtwin.so!f@V1(str \"a, b\", f64 -2.25) -> str = \"x = y\"").unwrap();
        assert_eq!((call.file.as_deref(), call.version.as_deref()), (Some("libtwin.so"), Some("V1")));
        assert_eq!(call.signature.to_string(), "f(str, f64) -> str");
        assert_eq!(call.arguments, ["a, b", "-2.25"]);
        assert_eq!(call.expected.as_deref(), Some("\"x = y\""));
    }

    #[test]
    fn the_calls_of_all_fixtures_can_be_read() {
        for text in FIXTURES.iter().flat_map(|fixture| fixture.calls) {
            let call = FixtureCall::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(call.signature.values(&call.arguments).is_ok(), "{text}");
        }
    }
}
