//! XML-RPC, as far as supervisord speaks it: pure. See <http://xmlrpc.com/spec.md>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How deep values may lie in each other. What supervisord says is a list of structures.
const MOST_DEPTH: usize = 16;

/// What comes back from a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Int(i64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// A field of a structure.
    pub(super) fn get(&self, field: &str) -> Option<&Self> {
        if let Self::Struct(fields) = self { fields.get(field) } else { None }
    }

    pub(super) fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }
}

/// What a method says instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) text: String,
}

/// A text that is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: expected {expected}")]
pub(super) struct Malformed {
    at: usize,
    expected: String,
}

/// What is passed to a method.
#[derive(Debug, Clone, Copy)]
pub(super) enum Param<'a> {
    Text(&'a str),
    Bool(bool),
}

/// The call of a method.
pub(super) fn call(method: &str, params: &[Param<'_>]) -> String {
    let mut xml = format!("<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>");
    for param in params {
        let (kind, value) = match param {
            Param::Text(text) => ("string", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")),
            Param::Bool(is) => ("boolean", u8::from(*is).to_string()),
        };
        // Writing into a String cannot fail.
        let _ = write!(xml, "<param><value><{kind}>{value}</{kind}></value></param>");
    }
    xml.push_str("</params></methodCall>");
    xml
}

/// What a method answered.
///
/// # Errors
/// It is no answer of XML-RPC, or of a kind that supervisord does not give.
pub(super) fn answer(xml: &str) -> Result<Result<Value, Fault>, Malformed> {
    let mut reader = Reader { xml, at: 0 };
    if reader.takes("<?xml") {
        reader.until("?>")?;
    }
    reader.tag("<methodResponse>")?;
    if reader.has("<fault>") {
        let fault = reader.value(0)?;
        let code = fault.get("faultCode").and_then(Value::int);
        let text = fault.get("faultString").and_then(Value::text);
        let (Some(code), Some(text)) = (code, text) else { return Err(reader.expected("a code and a text")) };
        return Ok(Err(Fault { code, text: text.to_owned() }));
    }
    reader.tag("<params>")?;
    reader.tag("<param>")?;
    let value = reader.value(0)?;
    for end in ["</param>", "</params>", "</methodResponse>"] {
        reader.tag(end)?;
    }
    Ok(Ok(value))
}

struct Reader<'a> {
    xml: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.xml[self.at..]
    }

    fn expected(&self, what: &str) -> Malformed {
        Malformed { at: self.at, expected: what.to_owned() }
    }

    /// Whether `text` is next; then it is passed over.
    fn takes(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// The same after white space.
    fn has(&mut self, tag: &str) -> bool {
        self.at += self.rest().len() - self.rest().trim_start().len();
        self.takes(tag)
    }

    fn tag(&mut self, tag: &str) -> Result<(), Malformed> {
        if self.has(tag) { Ok(()) } else { Err(self.expected(tag)) }
    }

    fn until(&mut self, end: &str) -> Result<&'a str, Malformed> {
        let length = self.rest().find(end).ok_or_else(|| self.expected(end))?;
        let text = &self.rest()[..length];
        self.at += length + end.len();
        Ok(text)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth == MOST_DEPTH {
            return Err(self.expected("a value that is not so deep"));
        }
        self.tag("<value>")?;
        // White space is a part of a text that does not say it is one.
        let begin = self.at;
        let value = if self.has("<int>") {
            Value::Int(self.number("</int>")?)
        } else if self.has("<i4>") {
            Value::Int(self.number("</i4>")?)
        } else if self.has("<boolean>") {
            Value::Bool(self.number("</boolean>")? != 0)
        } else if self.has("<string>") {
            Value::Text(self.text("</string>")?)
        } else if self.has("<array>") {
            Value::List(self.items(depth)?)
        } else if self.has("<struct>") {
            Value::Struct(self.fields(depth)?)
        } else {
            self.at = begin;
            return Ok(Value::Text(self.text("</value>")?));
        };
        self.tag("</value>")?;
        Ok(value)
    }

    fn number(&mut self, end: &str) -> Result<i64, Malformed> {
        let at = self.at;
        let expected = || Malformed { at, expected: "a whole number".to_owned() };
        self.until(end)?.trim().parse().map_err(|_| expected())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Value>, Malformed> {
        self.tag("<data>")?;
        let mut items = Vec::new();
        while !self.has("</data>") {
            items.push(self.value(depth + 1)?);
        }
        self.tag("</array>")?;
        Ok(items)
    }

    fn fields(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, Malformed> {
        let mut fields = BTreeMap::new();
        while !self.has("</struct>") {
            self.tag("<member>")?;
            self.tag("<name>")?;
            let name = self.text("</name>")?;
            fields.insert(name, self.value(depth + 1)?);
            self.tag("</member>")?;
        }
        Ok(fields)
    }

    /// Text up to `end`, which is the next tag.
    fn text(&mut self, end: &str) -> Result<String, Malformed> {
        let begin = self.at;
        let malformed = |at: usize, what: &str| Malformed { at: begin + at, expected: what.to_owned() };
        let raw = self.until(end)?;
        if let Some(at) = raw.find('<') {
            return Err(malformed(at, end));
        }
        let mut text = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(at) = rest.find('&') {
            text.push_str(&rest[..at]);
            let entity = &rest[at + 1..];
            let expected = || malformed(raw.len() - entity.len(), "an entity of XML");
            let length = entity.find(';').ok_or_else(expected)?;
            text.push(character(&entity[..length]).ok_or_else(expected)?);
            rest = &entity[length + 1..];
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// The character that an entity stands for.
fn character(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(number) => u32::from_str_radix(number, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &str) -> String {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{value}\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    #[test]
    fn an_answer_is_read_as_python_writes_it() {
        let text = params(
            "<value><array><data>\n<value><struct>\n<member>\n<name>name</name>\n<value><string>a&amp;b &lt;&#x41;&#66;&gt;\n \
             </string></value>\n</member>\n<member>\n<name>pid</name>\n<value><int>-7</int></value>\n</member>\n</struct>\
             </value>\n<value><boolean>1</boolean></value>\n<value> x </value>\n<value><string></string></value>\n</data>\
             </array></value>",
        );
        let Ok(Ok(value)) = answer(&text) else { panic!("{:?}", answer(&text)) };
        let [process, is, bare, empty] = value.list().unwrap() else { panic!("{value:?}") };
        assert_eq!(process.get("name").and_then(Value::text), Some("a&b <AB>\n "));
        assert_eq!(process.get("pid").and_then(Value::int), Some(-7));
        assert_eq!((is, bare, empty), (&Value::Bool(true), &Value::Text(" x ".into()), &Value::Text(String::new())));
    }

    #[test]
    fn a_fault_is_told_from_an_answer() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>92</int></value>\
                     </member><member><name>faultString</name><value><string>CANT_REREAD: x</string></value></member>\
                     </struct></value></fault></methodResponse>";
        assert_eq!(answer(fault), Ok(Err(Fault { code: 92, text: "CANT_REREAD: x".into() })));
        let half = fault.replace("faultCode", "code");
        assert!(answer(&half).unwrap_err().to_string().contains("a code and a text"));
    }

    #[test]
    fn what_is_no_answer_is_refused_wherever_it_breaks_off() {
        let whole = params("<value><array><data><value><int>1</int></value><value>&lt;</value></data></array></value>");
        assert!(answer(&whole).is_ok());
        let end = whole.trim_end().len();
        for length in (0..end).filter(|length| whole.is_char_boundary(*length)) {
            assert!(answer(&whole[..length]).is_err(), "{}", &whole[..length]);
        }
        for value in [
            "<value><int>x</int></value>",
            "<value><int>99999999999999999999</int></value>",
            "<value>&nbsp;</value>",
            "<value>&#x110000;</value>",
            "<value>&</value>",
            "<value><nil/></value>",
            "<value><string>a<b></string></value>",
            "<value><struct><name>a</name></struct></value>",
        ] {
            assert!(answer(&params(value)).is_err(), "{value}");
        }
        let deep = |depth: usize| {
            let (open, close) = ("<value><array><data>", "</data></array></value>");
            params(&format!("{}{}", open.repeat(depth), close.repeat(depth)))
        };
        assert!(answer(&deep(MOST_DEPTH)).is_ok());
        assert!(answer(&deep(MOST_DEPTH + 1)).is_err());
        assert!(answer(&deep(100_000)).is_err());
    }

    #[test]
    fn a_call_carries_any_text() {
        let called = call("supervisor.add", &[Param::Text("a<&>b"), Param::Bool(false)]);
        assert_eq!(
            called,
            "<?xml version='1.0'?><methodCall><methodName>supervisor.add</methodName><params><param><value><string>\
             a&lt;&amp;&gt;b</string></value></param><param><value><boolean>0</boolean></value></param></params>\
             </methodCall>"
        );
    }
}
