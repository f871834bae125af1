//! What a new version did to what ran, in words for its log.

use crate::model::FilePath;
use crate::model::effect::{Because, Effect};

/// More names of files than this are counted.
const MOST_NAMES: usize = 3;

pub(super) fn said(effect: &Effect<'_>) -> String {
    match effect {
        Effect::Reloads(files) if files.is_empty() => "reloaded; no file has changed".to_owned(),
        Effect::Reloads(files) => format!("reloaded because only {} changed", named(files)),
        Effect::GoesOn => "what runs goes on: nothing changed that it is reloaded or restarted for".to_owned(),
        Effect::Restarts(Because::File(path)) => format!("restarted because {path} changed"),
        Effect::Restarts(Because::Definition) => "restarted because it is run otherwise than before".to_owned(),
        Effect::Restarts(Because::Asked) => "restarted because the same is deployed once more".to_owned(),
        Effect::Restarts(Because::Usual) => "restarted because the version before says nothing of going on".to_owned(),
    }
}

fn named(files: &[&FilePath]) -> String {
    let mut names: Vec<String> = files.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    let more = files.len().saturating_sub(MOST_NAMES);
    if more > 0 {
        names.push(format!("{more} more files"));
    }
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_tells_what_changed_and_counts_what_is_too_much() {
        let paths: Vec<FilePath> = ["a", "b", "c", "d", "e"].map(|name| FilePath::new(name).unwrap()).into();
        let reload = |count: usize| said(&Effect::Reloads(paths.iter().take(count).collect()));
        assert_eq!(reload(0), "reloaded; no file has changed");
        assert_eq!(reload(1), "reloaded because only a changed");
        assert_eq!(reload(3), "reloaded because only a, b and c changed");
        assert_eq!(reload(5), "reloaded because only a, b, c and 2 more files changed");
    }
}
