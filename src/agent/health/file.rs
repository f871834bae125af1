//! Looking at a file that somebody keeps fresh.

use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::health::FileCheck;

pub(super) async fn ask(check: &FileCheck, data: &Path, now: DateTime<Utc>) -> Result<String, String> {
    // An absolute path stands for itself.
    let path = data.join(&check.path);
    let shown = path.display();
    let meta = match tokio::fs::metadata(&path).await {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(format!("{shown} is not there")),
        Err(error) => return Err(format!("looking at {shown}: {error}")),
    };
    let Some(newer_than) = check.newer_than_ms else { return Ok(format!("{shown} is there")) };
    let most = TimeDelta::milliseconds(i64::try_from(newer_than).unwrap_or(i64::MAX / 2));
    let written: DateTime<Utc> = meta.modified().map_err(|error| format!("looking at {shown}: {error}"))?.into();
    let seconds = |time: TimeDelta| time.as_seconds_f64();
    // By when it was written and not by its age, which would be another word at every look.
    let at = written.format("%H:%M:%S UTC");
    if now - written <= most {
        Ok(format!("{shown} is fresh"))
    } else {
        Err(format!("{shown} was written at {at}, more than {:.1} s ago", seconds(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_there_and_fresh_or_it_is_said_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let check = |newer_than_ms| FileCheck { path: "beat".to_owned(), newer_than_ms };
        let why = ask(&check(None), folder.path(), DateTime::UNIX_EPOCH).await.unwrap_err();
        assert!(why.ends_with("beat is not there"), "{why}");
        std::fs::write(folder.path().join("beat"), "x").unwrap();
        assert!(ask(&check(None), folder.path(), DateTime::UNIX_EPOCH).await.is_ok());
        let written: DateTime<Utc> = std::fs::metadata(folder.path().join("beat")).unwrap().modified().unwrap().into();
        let at = |millis| written + TimeDelta::milliseconds(millis);
        assert!(ask(&check(Some(500)), folder.path(), at(500)).await.is_ok());
        assert!(ask(&check(Some(500)), folder.path(), at(-500)).await.is_ok(), "clocks differ");
        let why = ask(&check(Some(500)), folder.path(), at(501)).await.unwrap_err();
        assert!(why.ends_with("more than 0.5 s ago"), "{why}");
        let absolute = FileCheck { path: "/proc/self/stat".to_owned(), newer_than_ms: None };
        assert!(ask(&absolute, folder.path(), DateTime::UNIX_EPOCH).await.is_ok());
    }
}
