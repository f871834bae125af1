//! The form of a text, as it is sent and as it comes back.

use askama::Template;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::merge::merged;
use crate::controller::{Known, Text, TextDiff};
use crate::recipe::diagnostics::{Diagnostic, Severity};
use crate::store::ETag;
use crate::web::changes::{self, Block};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::sides::By;
use crate::web::pages::used_by::User;
use crate::web::shell::{Nav, Shell};

/// What is edited, and where.
#[derive(Debug, Clone)]
pub(in crate::web::pages) struct Subject {
    pub(in crate::web::pages) title: String,
    pub(in crate::web::pages) nav: Nav,
    pub(in crate::web::pages) cli: String,
    /// What the text is called.
    pub(in crate::web::pages) label: String,
    /// `yaml` or `text`.
    pub(in crate::web::pages) kind: &'static str,
    /// Where the form goes.
    pub(in crate::web::pages) action: String,
    /// Where a text is sent to be told what is wrong with it.
    pub(in crate::web::pages) check: Option<String>,
    /// Where whoever changed their mind goes.
    pub(in crate::web::pages) back: String,
    /// The pages above this one: where, and how they are called.
    pub(in crate::web::pages) above: Vec<(String, String)>,
    /// What else can be done with it: where, and how it is called.
    pub(in crate::web::pages) more: Vec<(String, String)>,
    /// What comes of saving, in a sentence.
    pub(in crate::web::pages) outlook: String,
    /// Why it cannot be saved, if so.
    pub(in crate::web::pages) barred: Option<String>,
}

/// A longer text does not go with its form a second time: requests have a limit.
const MOST_BASE_BYTES: usize = 256 << 10;

/// What a form sends.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::web::pages) struct TextForm {
    #[serde(default)]
    pub(in crate::web::pages) text: String,
    /// The store's name for the bytes that the edit began with; empty if there were none.
    #[serde(default)]
    pub(in crate::web::pages) etag: String,
    /// The text that the edit began with, if it is not too long to be sent to and fro.
    #[serde(default)]
    base: String,
    #[serde(default)]
    pub(in crate::web::pages) reason: String,
    #[serde(default)]
    pub(in crate::web::pages) step: Step,
}

/// Which button was pressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::web::pages) enum Step {
    /// Back to the text.
    #[default]
    Edit,
    /// Show what would change.
    Preview,
    /// Do it.
    Save,
}

impl TextForm {
    /// Takes the form as it was sent. Browsers end each line of a text with CR and LF; it is given the line ends that
    /// it had.
    pub(in crate::web::pages) fn take(sent: Result<Form<Self>, FormRejection>) -> Result<Self, Failure> {
        let Form(mut form) = sent?;
        form.text = form.text.replace("\r\n", "\n");
        form.base = form.base.replace("\r\n", "\n");
        Ok(form)
    }

    /// The text with the line ends of `current`, if all of those are CR and LF.
    pub(in crate::web::pages) fn with_line_ends_of(mut self, current: Option<&Text>) -> Self {
        let is_dos = |text: &str| text.contains('\n') && text.matches('\n').count() == text.matches("\r\n").count();
        if current.is_some_and(|current| is_dos(&current.text)) {
            self.text = self.text.replace('\n', "\r\n");
        }
        self
    }

    /// What the user knows of the object.
    pub(in crate::web::pages) fn known(&self) -> Known {
        if self.etag.is_empty() { Known::Absent } else { Known::Tag(ETag::from(self.etag.clone())) }
    }

    /// Whether what is there now is not what the edit began with.
    pub(in crate::web::pages) fn is_outdated(&self, current: Option<&Text>) -> bool {
        current.map_or("", |current| current.etag.as_str()) != self.etag
    }
}

/// How the form comes back.
#[derive(Debug, Default)]
pub(in crate::web::pages) struct Draft {
    pub(in crate::web::pages) form: TextForm,
    pub(in crate::web::pages) problems: Vec<Diagnostic>,
    /// Why it was not saved.
    pub(in crate::web::pages) failure: Option<String>,
    /// What is there now beside what was typed, if that is what is wrong.
    pub(in crate::web::pages) conflict: Option<Conflict>,
    /// Whether the text is kept nowhere else.
    pub(in crate::web::pages) is_unsaved: bool,
}

/// Two edits of one text.
#[derive(Debug)]
pub(in crate::web::pages) struct Conflict {
    /// Who was there first, if the audit tells.
    by: Option<By>,
    /// What is there now; None if it was deleted.
    now: Option<String>,
    /// From what is there now to what was typed.
    lines: Vec<Block>,
    /// What each of the two changed, if the text that they began with is known.
    edits: Option<Edits>,
}

/// What two edits made of one text.
#[derive(Debug)]
struct Edits {
    theirs: Vec<Block>,
    mine: Vec<Block>,
    /// Both together, if they are not in each other's way.
    merged: Option<String>,
}

impl Draft {
    /// A text as it is kept.
    pub(in crate::web::pages) fn of(current: Option<&Text>) -> Self {
        let text = current.map(|current| current.text.clone()).unwrap_or_default();
        let etag = current.map(|current| current.etag.to_string()).unwrap_or_default();
        let base = base(&text);
        Self { form: TextForm { text, etag, base, ..TextForm::default() }, ..Self::default() }
    }

    /// What was typed, to go on with.
    pub(in crate::web::pages) fn typed(form: TextForm) -> Self {
        Self { form, is_unsaved: true, ..Self::default() }
    }

    /// What was typed, and what is wrong with it.
    pub(in crate::web::pages) fn wrong(form: TextForm, problems: Vec<Diagnostic>) -> Self {
        Self { problems, ..Self::typed(form) }
    }

    /// What was typed, beside what somebody else wrote meanwhile. Saved again, it takes that one's place.
    pub(in crate::web::pages) fn outdated(form: TextForm, current: Option<&Text>, by: Option<By>) -> Self {
        let now = current.map(|current| current.text.replace("\r\n", "\n"));
        let (theirs, mine) = (now.as_deref().unwrap_or_default(), form.text.replace("\r\n", "\n"));
        let lines = differing(theirs, &mine);
        let edits = (!form.base.is_empty() && now.is_some()).then(|| Edits {
            theirs: differing(&form.base, theirs),
            mine: differing(&form.base, &mine),
            merged: merged(&form.base, &mine, theirs),
        });
        let etag = current.map(|current| current.etag.to_string()).unwrap_or_default();
        let base = base(theirs);
        Self { conflict: Some(Conflict { by, now, lines, edits }), ..Self::typed(TextForm { etag, base, ..form }) }
    }
}

/// A text as its form remembers it.
fn base(text: &str) -> String {
    if text.len() > MOST_BASE_BYTES { String::new() } else { text.to_owned() }
}

/// The lines that differ between two texts.
pub(in crate::web::pages) fn differing(before: &str, after: &str) -> Vec<Block> {
    match TextDiff::between(before.as_bytes(), after.as_bytes()) {
        TextDiff::Text(unified) => changes::lines(&unified),
        _ => Vec::new(),
    }
}

/// Whether a text with these must not be kept.
pub(in crate::web::pages) fn are_errors(problems: &[Diagnostic]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// A line of a text that is shown with its number.
struct Numbered<'t> {
    number: usize,
    text: &'t str,
    is_wrong: bool,
}

#[derive(Template)]
#[template(path = "editor/form.html")]
struct FormPage<'p> {
    shell: Shell,
    subject: &'p Subject,
    draft: &'p Draft,
    /// The text by its lines, if there is something to point at.
    listing: Vec<Numbered<'p>>,
}

#[derive(Template)]
#[template(path = "editor/preview.html")]
struct PreviewPage<'p> {
    shell: Shell,
    subject: &'p Subject,
    form: &'p TextForm,
    is_new: bool,
    lines: Vec<Block>,
    problems: &'p [Diagnostic],
    users: &'p [User],
}

impl Subject {
    /// The form.
    pub(in crate::web::pages) fn form(
        &self,
        page: &PageContext,
        status: StatusCode,
        draft: &Draft,
    ) -> Result<Response, Failure> {
        let is_wrong = |number: usize| draft.problems.iter().any(|problem| problem.line == number);
        let listing = match draft.problems.is_empty() {
            true => Vec::new(),
            false => {
                let lines = draft.form.text.lines().enumerate();
                lines.map(|(at, text)| Numbered { number: at + 1, text, is_wrong: is_wrong(at + 1) }).collect()
            }
        };
        let shell = page.shell(self.title.clone(), self.nav, self.cli.clone());
        page.render_with(status, &FormPage { shell, subject: self, draft, listing })
    }

    /// The form again, with why it was not saved.
    pub(in crate::web::pages) fn failed(
        &self,
        page: &PageContext,
        form: TextForm,
        failure: &Failure,
    ) -> Result<Response, Failure> {
        let draft = Draft { failure: Some(failure.detail().to_owned()), ..Draft::typed(form) };
        self.form(page, failure.status(), &draft)
    }

    /// What saving would change, and whom it concerns.
    pub(in crate::web::pages) fn preview(
        &self,
        page: &PageContext,
        form: &TextForm,
        current: Option<&Text>,
        problems: &[Diagnostic],
        users: &[User],
    ) -> Result<Response, Failure> {
        let lines = differing(current.map_or("", |current| &current.text), &form.text);
        let shell = page.shell(self.title.clone(), self.nav, self.cli.clone());
        page.render(&PreviewPage { shell, subject: self, form, is_new: current.is_none(), lines, problems, users })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text { text: text.to_owned(), etag: ETag::from("\"1\"".to_owned()) }
    }

    #[test]
    fn line_ends_stay_as_they_were() {
        let form = |text: &str| TextForm { text: text.to_owned(), ..TextForm::default() };
        assert_eq!(form("a\nb\n").with_line_ends_of(Some(&text("x\r\ny\r\n"))).text, "a\r\nb\r\n");
        assert_eq!(form("a\nb\n").with_line_ends_of(Some(&text("x\r\ny\n"))).text, "a\nb\n");
        assert_eq!(form("a\n").with_line_ends_of(Some(&text("x"))).text, "a\n");
        assert_eq!(form("a\n").with_line_ends_of(None).text, "a\n");
    }

    #[test]
    fn an_edit_is_outdated_when_what_it_began_with_is_gone() {
        let form = |etag: &str| TextForm { etag: etag.to_owned(), ..TextForm::default() };
        assert!(!form("\"1\"").is_outdated(Some(&text("x"))));
        assert!(form("\"0\"").is_outdated(Some(&text("x"))));
        assert!(form("\"1\"").is_outdated(None), "it was deleted");
        assert!(form("").is_outdated(Some(&text("x"))), "somebody else made it");
        assert!(!form("").is_outdated(None));
        let draft =
            Draft::outdated(TextForm { text: "mine\n".to_owned(), ..form("\"0\"") }, Some(&text("theirs\n")), None);
        assert_eq!((draft.form.text.as_str(), draft.form.etag.as_str()), ("mine\n", "\"1\""));
        assert!(draft.conflict.is_some_and(|conflict| {
            conflict.lines.iter().any(
                |block| matches!(block, Block::Change(before, _) if before.iter().any(|line| line.text == "theirs")),
            )
        }));
    }
}
