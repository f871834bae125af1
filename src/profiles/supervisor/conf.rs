//! supervisord's configuration as it is on disk: which files belong to it, what they define, and which of them is broken.
//!
//! Only supervisord itself can tell whether it can read its configuration, because values may name users, folders and
//! variables of its own environment. So it is asked, before and after a file is installed; what is read here tells
//! beforehand whose a name is and whether supervisord would see a file, and afterwards which file is at fault. The rules
//! are those of Python's `configparser` as supervisord 4 uses it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// No file of a configuration that people write is larger.
const MOST_BYTES: u64 = 4 << 20;

/// As Python's `glob` matches.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// All files of a configuration.
#[derive(Debug)]
pub(super) struct Conf {
    main: PathBuf,
    files: Vec<ConfFile>,
    /// What `[include]` names, as absolute patterns.
    includes: Vec<Pattern>,
    /// A pattern of `[include]` that only supervisord can resolve.
    unresolved: Option<String>,
}

/// One file.
#[derive(Debug)]
struct ConfFile {
    path: PathBuf,
    sections: Vec<String>,
    /// What no supervisord can read, whatever its environment.
    fault: Option<String>,
}

impl Conf {
    /// Reads the main file and all that it includes.
    ///
    /// # Errors
    /// The main file cannot be read.
    pub(super) fn read(main: &Path) -> io::Result<Self> {
        let text = read_text(main)?;
        let Parsed { sections, include, fault } = parse(&text);
        let folder = main.parent().unwrap_or(Path::new("/"));
        let mut conf = Self {
            main: main.to_owned(),
            files: vec![ConfFile { path: main.to_owned(), sections, fault }],
            includes: Vec::new(),
            unresolved: None,
        };
        for written in include.split_whitespace() {
            let written = written.replace("%(here)s", &folder.display().to_string());
            let absolute = folder.join(&written);
            let pattern = absolute.to_str().filter(|text| !text.contains('%')).and_then(|text| Pattern::new(text).ok());
            let Some(pattern) = pattern else {
                conf.unresolved = Some(written);
                continue;
            };
            let Ok(found) = glob::glob_with(pattern.as_str(), MATCHING) else { continue };
            let mut found: Vec<PathBuf> = found.flatten().collect();
            found.sort();
            conf.files.extend(found.into_iter().filter_map(ConfFile::read));
            conf.includes.push(pattern);
        }
        Ok(conf)
    }

    /// Whether supervisord reads, or would read, the file at `path`; an explanation if it does not.
    pub(super) fn includes(&self, path: &Path) -> Result<(), String> {
        if self.unresolved.is_some() || self.includes.iter().any(|pattern| pattern.matches_path_with(path, MATCHING)) {
            return Ok(());
        }
        let (main, folder) = (self.main.display(), path.parent().unwrap_or(path).display());
        Err(format!(
            "{main} does not include {}; add `files = {folder}/*.conf` to its section [include]",
            path.display()
        ))
    }

    /// The file other than `own` that defines the group `group` or a program of it.
    pub(super) fn other_holder(&self, group: &str, own: &Path) -> Option<&Path> {
        let is_of_group = |section: &String| {
            let Some((kind, name)) = section.split_once(':') else { return false };
            let rest = name.trim().strip_prefix(group);
            ["program", "group", "eventlistener", "fcgi-program"].contains(&kind)
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let holder = self.files.iter().find(|file| file.path != own && file.sections.iter().any(is_of_group));
        holder.map(|file| file.path.as_path())
    }

    /// The first file that cannot be read as a configuration, and what is wrong with it.
    pub(super) fn broken(&self) -> Option<(&Path, &str)> {
        self.files.iter().find_map(|file| Some((file.path.as_path(), file.fault.as_deref()?)))
    }
}

impl ConfFile {
    /// None for a file that Python passes over, because it cannot be opened.
    fn read(path: PathBuf) -> Option<Self> {
        match read_text(&path) {
            Ok(text) => {
                let Parsed { sections, fault, .. } = parse(&text);
                Some(Self { path, sections, fault })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Some(Self { path, sections: Vec::new(), fault: Some(error.to_string()) })
            }
            Err(_) => None,
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if bytes.len() as u64 > MOST_BYTES {
        return Err(invalid("it is too large"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    sections: Vec<String>,
    /// The value of `files` in `[include]`.
    include: String,
    fault: Option<String>,
}

fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    // The option whose value may go on, and how far it is indented.
    let mut option: Option<(String, usize)> = None;
    for (at, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let is_include = parsed.sections.last().is_some_and(|section| section == "include");
        if let Some((name, _)) = option.as_ref().filter(|(_, begin)| indent > *begin) {
            if is_include && name == "files" {
                parsed.include.push(' ');
                parsed.include.push_str(content);
            }
            continue;
        }
        if let Some(end) = content.rfind(']').filter(|end| content.starts_with('[') && *end > 1) {
            parsed.sections.push(content[1..end].to_owned());
            option = None;
            continue;
        }
        let mut fault = |what: &str| {
            parsed.fault.get_or_insert_with(|| format!("line {}: {what}", at + 1));
        };
        if parsed.sections.is_empty() {
            fault("there is no section header before it");
            continue;
        }
        let name = content.find(['=', ':']).map(|end| (content[..end].trim().to_lowercase(), &content[end + 1..]));
        match name.filter(|(name, _)| !name.is_empty()) {
            Some((name, value)) => {
                if is_include && name == "files" {
                    value.trim().clone_into(&mut parsed.include);
                }
                option = Some((name, indent));
            }
            None => fault("expected a section header or `name = value`"),
        }
    }
    parsed
}

/// Comments begin a line, or follow white space.
fn without_comment(line: &str) -> &str {
    let starts = line.char_indices().filter(|(_, c)| matches!(c, ';' | '#')).map(|(at, _)| at);
    let comment = starts.into_iter().find(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str =
        "; a comment\n[supervisord]\nlogfile=/x ; more\n[include]\nfiles = conf.d/*.conf\n  /else/*.ini # too\n";

    #[test]
    fn what_is_included_is_found_and_whose_a_name_is() {
        let home = tempfile::tempdir().unwrap();
        let (main, folder) = (home.path().join("supervisord.conf"), home.path().join("conf.d"));
        std::fs::create_dir(&folder).unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).unwrap();
        std::fs::write(&main, MAIN).unwrap();
        write("a.conf", b"[program:web]\ncommand=x\n[group:fleetman-web]\nprograms=web\n");
        write("b.conf", b"[program:fleetman-db.a]\ncommand=x\n[program:fleetman-web-2]\ncommand=y\n");
        write(".hidden.conf", b"broken");
        let conf = Conf::read(&main).unwrap();
        let own = folder.join("fleetman-web.conf");
        assert_eq!(conf.includes(&own), Ok(()));
        assert_eq!(conf.includes(Path::new("/else/a.ini")), Ok(()));
        assert!(conf.includes(&folder.join(".fleetman-web.conf")).is_err(), "what is being written is not seen");
        let elsewhere = conf.includes(Path::new("/etc/a.conf")).unwrap_err();
        assert!(elsewhere.contains("add `files = /etc/*.conf`"), "{elsewhere}");
        assert_eq!(conf.other_holder("fleetman-web", &own), Some(folder.join("a.conf").as_path()));
        assert_eq!(conf.other_holder("fleetman-web", &folder.join("a.conf")), None);
        assert_eq!(conf.other_holder("fleetman-db", &own), Some(folder.join("b.conf").as_path()));
        assert_eq!(conf.other_holder("fleetman-we", &own), None);
        assert_eq!(conf.broken(), None);

        write("c.conf", b"[program:x]\ncommand=\xff\n");
        let conf = Conf::read(&main).unwrap();
        assert_eq!(conf.broken(), Some((folder.join("c.conf").as_path(), "it is not UTF-8")));
        std::fs::write(&main, "[include]\nfiles = %(ENV_HOME)s/*.conf").unwrap();
        assert_eq!(Conf::read(&main).unwrap().includes(&own), Ok(()), "only supervisord can tell");
    }

    #[test]
    fn lines_are_read_as_python_reads_them() {
        let sections = |text| parse(text).sections;
        assert_eq!(sections("[a]\nx=1\n [b]\n  [c]\n"), ["a"], "an indented line goes on with the value");
        assert_eq!(sections("[a]\n[b:c] ; x\n;[d]\n#[e]\n[f;g]\n"), ["a", "b:c", "f;g"]);
        assert_eq!(parse("[include]\nFiles: a\n\n b ;x\nother=c\n d\n").include, "a b");
        let fault = |text| parse(text).fault;
        assert_eq!(fault("[a]\nx=1\ny:2\n;z\n\n"), None);
        assert_eq!(fault("x=1\n[a]\n").as_deref(), Some("line 1: there is no section header before it"));
        assert_eq!(fault("[a]\nx\n").as_deref(), Some("line 2: expected a section header or `name = value`"));
        assert_eq!(fault("[a]\n=1\n").as_deref(), Some("line 2: expected a section header or `name = value`"));
        assert_eq!(fault("[]\n").as_deref(), Some("line 1: there is no section header before it"));
    }
}
