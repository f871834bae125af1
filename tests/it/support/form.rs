//! The portal as a browser without scripts uses it: pages are read, forms are sent back with what stands in them.

use std::collections::BTreeMap;

use super::serving::{Answer, Serving};

/// Where a form from this server comes from.
const OWN_SITE: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Sends what a `<form method=post>` holds.
pub(crate) async fn post(serving: &Serving, path: &str, fields: &[(&str, &str)]) -> Answer {
    // Browsers end the lines of a text so.
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encoded(&value.replace('\n', "\r\n")));
    let body = fields.iter().map(pair).collect::<Vec<_>>().join("&");
    serving.send_form(path, &body).await
}

/// A text as it stands between the fields of a form.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Sends a text to be checked, as the editor does.
pub(crate) async fn check(serving: &Serving, path: &str, text: &str) -> Answer {
    let kind = ("content-type", "text/plain; charset=utf-8");
    serving.send("POST", path, &[kind, OWN_SITE], text.to_owned()).await
}

/// Goes on where a change is only shown at first: confirms it, and gives the answer to that. Any other answer is given
/// back.
pub(crate) async fn confirmed(serving: &Serving, cookie: &str, answer: Answer) -> Answer {
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != 200 || !page.contains("name=\"sealed\"") {
        return answer;
    }
    let sealed = fields(&page).remove("sealed").unwrap();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let form = format!("sealed={sealed}&reason=looked+at");
    serving.send("POST", "/settings/review", &[kind, OWN_SITE, ("cookie", cookie)], form).await
}

/// A part of a form with files: the input's name, the file's name if it is one, its bytes.
pub(crate) type Part<'p> = (&'p str, Option<&'p str>, &'p [u8]);

/// Sends what a `<form enctype=multipart/form-data>` holds.
pub(crate) async fn send_files(serving: &Serving, path: &str, accept: &str, parts: &[Part<'_>]) -> Answer {
    const BOUNDARY: &str = "----fleetman-test-boundary";
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    serving.send("POST", path, &[("content-type", &kind), ("accept", accept), OWN_SITE], body).await
}

/// Goes on where files wait to be looked at: looks, confirms, and gives the answer to that.
pub(crate) async fn confirm_upload(serving: &Serving, sent: Answer, reason: &str) -> Answer {
    let path = sent.is(303).header("location").to_owned();
    let mut fields = fields(&serving.get(&path).await.is(200).text());
    fields.insert("reason".to_owned(), reason.to_owned());
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    post(serving, &path, &fields).await
}

/// The fields of a page's form: what stands in hidden inputs, other inputs and text areas.
pub(crate) fn fields(page: &str) -> BTreeMap<String, String> {
    let form = page.split("<form method=\"post\"").skip(1).find(|form| !form.starts_with(" action=\"/sign-out\""));
    let form = form.and_then(|form| form.split("</form>").next()).expect("a page with a form");
    let mut found = BTreeMap::new();
    for tag in form.split("<input ").skip(1) {
        let tag = tag.split('>').next().unwrap();
        if let Some(name) = attribute(tag, "name") {
            found.insert(name, attribute(tag, "value").unwrap_or_default());
        }
    }
    for area in form.split("<textarea ").skip(1) {
        let (tag, rest) = area.split_once('>').unwrap();
        // A first line end is not part of what is in it.
        let text = rest.split("</textarea>").next().unwrap();
        let text = text.strip_prefix('\n').unwrap_or(text);
        found.extend(attribute(tag, "name").map(|name| (name, unescaped(text))));
    }
    found
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
    Some(unescaped(value))
}

/// What a page means by its text.
pub(crate) fn unescaped(text: &str) -> String {
    let text = text.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#39;", "'");
    text.replace("&#38;", "&")
}
