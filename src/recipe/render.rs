//! Templates: a pure function of a manifest, a cell and a text. No clock, no randomness, no environment, no files and
//! no other templates can be reached from one, and maps are walked in the order of their keys.
//!
//! A template sees `vars`, `labels`, `node` and `cell`. It does **not** see the names of the version and of the
//! deployment: those are outside of `content_sha256`, so that the same content has the same digest under any name. A
//! template that wrote one of them into a file would make the content depend on its own name, and a name that is
//! generated from the content could never be found. Nor does it see secrets, which never leave the node.
//!
//! Bounded are the source, the output and the number of instructions. A value that a template builds and does not
//! write out is bounded only by those instructions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use super::validate::Vars;
use super::value::VarValue;
use crate::model::CellId;
use crate::yaml;

/// The longest template file, and the longest that one may give, in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// What a template may use up.
#[derive(Clone, Copy)]
struct Bounds {
    instructions: u64,
    output_bytes: usize,
}

/// Some tens of milliseconds.
const FILE: Bounds = Bounds { instructions: 1_000_000, output_bytes: MAX_BYTES };

/// Of one argument or variable of the environment: no more than Linux passes to a program.
const VALUE: Bounds = Bounds { instructions: 10_000, output_bytes: (128 << 10) - 1 };

/// The names that every template may use.
const NAMES: [&str; 4] = ["vars", "labels", "node", "cell"];

/// What templates of one cell see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Context {
    pub(super) vars: BTreeMap<String, VarValue>,
    pub(super) labels: BTreeMap<String, String>,
    node: String,
    cell: String,
}

impl Context {
    pub(super) fn new(cell: &CellId, vars: BTreeMap<String, VarValue>, labels: BTreeMap<String, String>) -> Self {
        Self { vars, labels, node: cell.node.to_string(), cell: cell.cell.to_string() }
    }
}

/// Why a text cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {name}{}: {message} ({help})", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct RenderError {
    /// The template: a path, or the field of a document that holds it.
    pub name: String,
    /// The line of the template, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// Renders a template file. `name` is its path, for errors.
///
/// # Errors
/// When the file is not text or too large, when it is no template, uses what is not defined, or gives too much.
pub fn file(name: &str, source: &[u8], context: &Context) -> Result<String, RenderError> {
    let refuse = |message: &str, help: &str| RenderError {
        name: name.to_owned(),
        line: None,
        message: message.to_owned(),
        help: help.to_owned(),
    };
    if source.len() > MAX_BYTES {
        let message = format!("the template has {} bytes, more than the {MAX_BYTES} that are rendered", source.len());
        return Err(refuse(&message, "remove `template: true` from its rule"));
    }
    let help = "remove `template: true` from its rule, or save it as UTF-8";
    let source = str::from_utf8(source).map_err(|_| refuse("the file is not UTF-8 text", help))?;
    render(name, source, context, FILE)
}

/// Renders an argument or a variable of the environment.
pub(super) fn value(source: &str, context: &Context) -> Result<String, RenderError> {
    render("", source, context, VALUE)
}

fn render(name: &str, source: &str, context: &Context, bounds: Bounds) -> Result<String, RenderError> {
    let refuse = |error: &minijinja::Error| refusal(name, source, error, bounds);
    let environment = environment(bounds).map_err(|error| refuse(&error))?;
    let mut output = Bounded { bytes: Vec::new(), most: bounds.output_bytes };
    let template = environment.template_from_named_str(name, source).map_err(|error| refuse(&error))?;
    let result = template.render_captured_to(Serde(context), &mut output).map(drop);
    match (result, String::from_utf8(output.bytes)) {
        (Ok(()), Ok(text)) => Ok(text),
        (Err(error), _) => Err(with_suggestion(refuse(&error), source, &error, context)),
        // A template writes whole texts only.
        (Ok(()), Err(_)) => Err(RenderError {
            name: name.to_owned(),
            line: None,
            message: "the output is not UTF-8 text".to_owned(),
            help: "look for a value that is not text".to_owned(),
        }),
    }
}

/// Every name that a text uses, as in `vars.port`.
pub(super) fn names(source: &str) -> Result<BTreeSet<String>, RenderError> {
    // Most values are no templates, and a manifest may hold thousands.
    if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
        return Ok(BTreeSet::new());
    }
    let refuse = |error: minijinja::Error| refusal("", source, &error, VALUE);
    let environment = environment(VALUE).map_err(refuse)?;
    let template = environment.template_from_str(source).map_err(refuse)?;
    let known: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    let used = template.undeclared_variables(true).into_iter();
    Ok(used.filter(|name| !known.contains(name.split('.').next().unwrap_or(name))).collect())
}

/// Those of the names that a text uses which no cell could define.
pub(super) fn undeclared(names: &BTreeSet<String>, vars: &Vars<'_>) -> Vec<RenderError> {
    let refuse = |message: String, help: String| RenderError { name: String::new(), line: None, message, help };
    let mut errors = Vec::new();
    for name in names {
        let mut parts = name.split('.');
        match (parts.next().unwrap_or(name), parts.next()) {
            ("vars", Some(var)) if !vars.contains(var) => {
                let help = match yaml::nearest(var, vars.iter().copied()) {
                    Some(near) => format!("did you mean `vars.{near}`?"),
                    None => format!("add `{var}` to `vars`, with a default or as `{var}: {{}}`"),
                };
                errors.push(refuse(format!("the manifest declares no variable `{var}`"), help));
            }
            (top, _) if !NAMES.contains(&top) => {
                let help = if vars.contains(top) {
                    format!("write `vars.{top}`")
                } else {
                    "a template may use `vars`, `labels`, `node` and `cell`".to_owned()
                };
                errors.push(refuse(format!("templates do not know `{top}`"), help));
            }
            _ => {}
        }
    }
    errors
}

fn environment(bounds: Bounds) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    // A line that holds only a block leaves no empty line behind, and the last newline of a file stays.
    let mut syntax = SyntaxConfig::builder();
    environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(bounds.instructions));
    // By default the end of the name decides whether a text is escaped as HTML.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    // It shows the engine's own state, which changes between its releases.
    environment.remove_global("debug");
    Ok(environment)
}

fn refusal(name: &str, source: &str, error: &minijinja::Error, bounds: Bounds) -> RenderError {
    let (message, help) = match error.kind() {
        ErrorKind::OutOfFuel => {
            (format!("it takes more than {} instructions", bounds.instructions), "make its loops shorter".to_owned())
        }
        ErrorKind::UndefinedError => {
            let what = error.range().and_then(|range| source.get(range)).unwrap_or("a value").trim();
            (format!("`{what}` is not defined"), "add it to `vars`, or write `| default(…)`".to_owned())
        }
        ErrorKind::WriteFailure => {
            (format!("it gives more than {} bytes", bounds.output_bytes), "make its loops shorter".to_owned())
        }
        kind => {
            let message = error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
            (message, "a literal `{{` is written {{ \"{{\" }}".to_owned())
        }
    };
    RenderError { name: name.to_owned(), line: error.line(), message, help }
}

/// Names the variable that was most likely meant.
fn with_suggestion(refusal: RenderError, source: &str, error: &minijinja::Error, context: &Context) -> RenderError {
    let expression = error.range().and_then(|range| source.get(range)).unwrap_or_default().trim();
    let near = expression.split_once('.').and_then(|(map, key)| match map {
        "vars" => yaml::nearest(key, context.vars.keys().map(String::as_str)),
        "labels" => yaml::nearest(key, context.labels.keys().map(String::as_str)),
        _ => None,
    });
    match (error.kind(), near, expression.split('.').next()) {
        (ErrorKind::UndefinedError, Some(near), Some(map)) => {
            RenderError { help: format!("did you mean `{map}.{near}`?"), ..refusal }
        }
        _ => refusal,
    }
}

/// Takes at most `most` bytes.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::Error::other("the output is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let vars = [
            ("port".to_owned(), VarValue::Integer(8080)),
            ("tls".to_owned(), VarValue::Bool(false)),
            ("html".to_owned(), VarValue::Text("<b>&".to_owned())),
            (
                "upstreams".to_owned(),
                VarValue::List(vec![VarValue::Text("a".to_owned()), VarValue::Text("b".to_owned())]),
            ),
        ];
        let labels = [("region".to_owned(), "eu".to_owned())];
        Context::new(&"n1/web".parse().unwrap(), vars.into(), labels.into())
    }

    fn rendered(source: &str) -> Result<String, RenderError> {
        file("etc/app.html", source.as_bytes(), &context())
    }

    #[test]
    fn a_template_sees_its_cell_and_its_values_are_not_escaped() {
        let source = "{{ node }}/{{ cell }} {{ labels.region }} {{ vars.port + 1 }} {{ vars.html }}\n\
                        {% for u in vars.upstreams %}\n{{ u }},\n{% endfor %}\n{% if vars.tls %}tls{% endif %}\n";
        assert_eq!(rendered(source).unwrap(), "n1/web eu 8081 <b>&\na,\nb,\n");
    }

    #[test]
    fn what_is_not_defined_is_refused_with_its_line() {
        let error = rendered("fine\n{{ vars.prot }}\n").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (Some(2), "`vars.prot` is not defined"));
        assert_eq!(error.help, "did you mean `vars.port`?");
        assert!(error.to_string().starts_with("template etc/app.html:2: "), "{error}");
        for source in
            ["{{ version }}", "{{ deployment }}", "{{ env }}", "{{ now() }}", "{{ random() }}", "{{ debug() }}"]
        {
            assert!(rendered(source).is_err(), "{source}");
        }
    }

    #[test]
    fn no_other_template_can_be_reached() {
        for source in ["{% include '/etc/passwd' %}", "{% extends 'a' %}", "{% import 'a' as b %}"] {
            assert!(rendered(source).is_err(), "{source}");
        }
    }

    #[test]
    fn rendering_is_bounded() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(rendered(endless).unwrap_err().message.contains("more than 1000000 instructions"));
        let large = "{% for a in range(100) %}{{ 'x' * 1000000 }}{% endfor %}";
        assert!(rendered(large).unwrap_err().message.contains("more than 8388608 bytes"));
        let exact = format!("{{{{ 'x' * {MAX_BYTES} }}}}");
        assert_eq!(rendered(&exact).unwrap().len(), MAX_BYTES);
        assert!(file("a", &vec![b' '; MAX_BYTES + 1], &context()).unwrap_err().message.contains("bytes"));
        assert!(value("{{ 'x' * 200000 }}", &context()).unwrap_err().message.contains("more than 131071 bytes"));
        assert!(value(endless, &context()).unwrap_err().message.contains("more than 10000 instructions"));
        assert!(file("a", b"\xff", &context()).unwrap_err().message.contains("not UTF-8"));
    }

    #[test]
    fn names_that_no_cell_could_define_are_found_without_rendering() {
        let vars: Vars<'_> = ["port", "domain"].into();
        let found = |source: &str| -> Vec<String> {
            let errors = undeclared(&names(source).unwrap(), &vars);
            errors.into_iter().map(|error| format!("{}: {}", error.message, error.help)).collect()
        };
        assert!(found("plain").is_empty());
        assert!(
            found("{{ vars.port }} {{ labels.any }} {{ node }} {% for i in range(3) %}{{ i }}{% endfor %}").is_empty()
        );
        assert_eq!(found("{{ vars.prot }}"), ["the manifest declares no variable `prot`: did you mean `vars.port`?"]);
        assert_eq!(found("{{ port }}"), ["templates do not know `port`: write `vars.port`"]);
        assert!(found("{{ secrets.key }}")[0].starts_with("templates do not know `secrets`"));
        assert!(names("{{ vars.port").is_err());
    }
}
