//! Finding what is on a page as a user does, by what it is and what it is called, and doing something with it.

use std::path::Path;

use serde_json::{Value, json};

use super::page::{Page, result};
use crate::support::holds_in_time;

/// What to find. It must be there exactly once: what is ambiguous to a test is ambiguous to a user.
#[derive(Debug, Clone)]
pub(crate) struct By {
    way: Way,
    /// What it lies in, if not anywhere on the page.
    within: Option<Box<By>>,
}

#[derive(Debug, Clone)]
enum Way {
    /// The role and the accessible name, as a screen reader tells them.
    Role(&'static [&'static str], String),
    /// The innermost elements whose text is exactly this.
    Text(String),
    Css(String),
}

/// What can be typed into or chosen from.
const FIELDS: [&str; 6] = ["textbox", "searchbox", "combobox", "spinbutton", "checkbox", "radio"];

pub(crate) fn link(name: &str) -> By {
    Way::Role(&["link"], name.to_owned()).anywhere()
}

/// A button, or what opens something.
pub(crate) fn button(name: &str) -> By {
    Way::Role(&["button", "DisclosureTriangle"], name.to_owned()).anywhere()
}

/// A control by its label.
pub(crate) fn field(name: &str) -> By {
    Way::Role(&FIELDS, name.to_owned()).anywhere()
}

pub(crate) fn heading(name: &str) -> By {
    Way::Role(&["heading"], name.to_owned()).anywhere()
}

pub(crate) fn text(text: &str) -> By {
    Way::Text(text.to_owned()).anywhere()
}

/// For what has no name of its own, like one of several tables.
pub(crate) fn css(selector: &str) -> By {
    Way::Css(selector.to_owned()).anywhere()
}

impl Way {
    const fn anywhere(self) -> By {
        By { way: self, within: None }
    }
}

impl By {
    /// The one of those that lies in `outer`.
    pub(crate) fn within(self, outer: Self) -> Self {
        let within = match self.within {
            Some(within) => within.within(outer),
            None => outer,
        };
        Self { within: Some(Box::new(within)), ..self }
    }
}

/// Where the middle of an element is, once it has been brought into view; or why it cannot be clicked.
const PLACE: &str = "function () {
    if (this.disabled) return 'it is disabled';
    this.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    const box = [...this.getClientRects()].find((box) => box.width > 0 && box.height > 0);
    if (!box) return 'it takes no place';
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const hit = this.getRootNode().elementFromPoint(x, y);
    const own = [this, ...(this.labels ?? [])].some((own) => own.contains(hit));
    return own ? { x, y } : `another element is over it: ${hit?.outerHTML.slice(0, 200)}`;
}";

/// The elements of an element whose own text is what was asked for.
const WITH_TEXT: &str = "function (text) {
    const is = (element) => (element.innerText ?? '').trim() === text;
    const root = this.body ?? this;
    return [...root.querySelectorAll('*')].filter((found) => is(found) && ![...found.children].some(is));
}";

const MATCHING: &str = "function (selector) { return [...this.querySelectorAll(selector)]; }";

const CHOOSE: &str = "function (wanted) {
    const found = [...this.options].filter((option) => option.label.trim() === wanted);
    if (found.length !== 1 || found[0].disabled) return [...this.options].map((option) => option.label).join(', ');
    this.focus();
    this.value = found[0].value;
    this.dispatchEvent(new Event('input', { bubbles: true }));
    this.dispatchEvent(new Event('change', { bubbles: true }));
    return true;
}";

impl Page {
    /// Clicks in the middle of an element, once it is there and can be reached, and waits until what that leads to is
    /// loaded.
    pub(crate) async fn click(&self, by: By) {
        self.until(&by, async |element| self.click_at(element).await).await;
        self.loaded().await;
    }

    /// Types a text in place of what a field holds.
    pub(crate) async fn fill(&self, by: By, text: &str) {
        let fill = async |element: &str| {
            self.click_at(element).await?;
            for kind in ["rawKeyDown", "keyUp"] {
                let asked =
                    json!({ "type": kind, "key": "a", "code": "KeyA", "modifiers": 2, "commands": ["selectAll"] });
                self.try_call("Input.dispatchKeyEvent", asked).await?;
            }
            self.try_press("Delete").await?;
            self.try_call("Input.insertText", json!({ "text": text })).await?;
            // A browser that is busy may lose what is typed for it.
            let holds = "function () { return (this.value ?? this.innerText).trim() !== ''; }";
            match text.trim().is_empty() || self.apply(element, holds, &[]).await? == true {
                true => Ok(()),
                false => Err("what was typed did not arrive".to_owned()),
            }
        };
        self.until(&by, fill).await;
    }

    /// Chooses from a list what is called so.
    pub(crate) async fn choose(&self, by: By, option: &str) {
        let choose = async |element: &str| match self.apply(element, CHOOSE, &[option.into()]).await? {
            Value::Bool(true) => Ok(()),
            options => Err(format!("there are only {options}")),
        };
        self.until(&by, choose).await;
        self.loaded().await;
    }

    /// Gives files to a file input, or the folder to one that takes folders. Such an input may be hidden behind its
    /// label.
    pub(crate) async fn give_files(&self, by: By, paths: &[&Path]) {
        let give = async |element: &str| {
            let asked = json!({ "files": paths, "objectId": element });
            self.try_call("DOM.setFileInputFiles", asked).await?;
            let given = self.apply(element, "function () { return this.files.length; }", &[]).await?;
            if given == 0 { Err("it holds no file".to_owned()) } else { Ok(()) }
        };
        self.until(&by, give).await;
    }

    /// Presses and releases a key: a character, or `Enter`, `Tab`, `Escape`, `Delete`, `ArrowDown`, `ArrowUp`.
    pub(crate) async fn press(&self, key: &str) {
        self.try_press(key).await.unwrap();
        self.loaded().await;
    }

    /// The text of an element.
    pub(crate) async fn text_of(&self, by: By) -> String {
        let read = "function () { return this.innerText; }";
        let text = self.until(&by, async |element| self.apply(element, read, &[]).await).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What a field holds.
    pub(crate) async fn value_of(&self, by: By) -> String {
        let read = "function () { return this.value; }";
        let value = self.until(&by, async |element| self.apply(element, read, &[]).await).await;
        value.as_str().unwrap_or_default().to_owned()
    }

    /// How many there are now.
    pub(crate) async fn count(&self, by: By) -> usize {
        self.find(&by).await.map_or(0, |found| found.len())
    }

    /// Waits until there is exactly one.
    pub(crate) async fn has(&self, by: By) {
        self.until(&by, async |_| Ok(())).await;
    }

    /// Does something with the one element that is meant, again and again until it succeeds: the page may still be
    /// loading, or be replaced in between.
    async fn until<T>(&self, by: &By, act: impl AsyncFn(&str) -> Result<T, String>) -> T {
        let (mut done, mut why) = (None, String::new());
        let tried = async || {
            match self.only(by).await {
                Ok(element) => match act(&element).await {
                    Ok(value) => done = Some(value),
                    Err(error) => why = error,
                },
                Err(error) => why = error,
            }
            done.is_some()
        };
        if holds_in_time(tried).await {
            return done.unwrap();
        }
        let (shown, complaints) = (self.read().await, self.complaints().await);
        panic!("{by:?} on {}: {why}. It shows:\n{shown}\n{complaints:#?}", self.url().await);
    }

    async fn only(&self, by: &By) -> Result<String, String> {
        let mut found = self.find(by).await?;
        match found.len() {
            1 => Ok(found.remove(0)),
            count => Err(format!("there are {count} of them")),
        }
    }

    async fn find(&self, by: &By) -> Result<Vec<String>, String> {
        let root = match &by.within {
            Some(outer) => Box::pin(self.only(outer)).await?,
            None => {
                let asked = json!({ "expression": "document" });
                object(&result(self.try_call("Runtime.evaluate", asked).await?)?)?
            }
        };
        match &by.way {
            Way::Role(roles, name) => self.find_named(&root, roles, name).await,
            Way::Text(text) => self.find_by(&root, WITH_TEXT, text).await,
            Way::Css(selector) => self.find_by(&root, MATCHING, selector).await,
        }
    }

    async fn find_named(&self, root: &str, roles: &[&str], name: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for role in roles {
            let asked = json!({ "objectId": root, "role": role, "accessibleName": name });
            let nodes = self.try_call("Accessibility.queryAXTree", asked).await?;
            for node in nodes["nodes"].as_array().into_iter().flatten().filter(|node| node["ignored"] != true) {
                let asked = json!({ "backendNodeId": node["backendDOMNodeId"] });
                found.push(object(&self.try_call("DOM.resolveNode", asked).await?["object"])?);
            }
        }
        Ok(found)
    }

    async fn find_by(&self, root: &str, script: &str, what: &str) -> Result<Vec<String>, String> {
        let asked = json!({ "objectId": root, "functionDeclaration": script, "arguments": [{ "value": what }] });
        let list = object(&result(self.try_call("Runtime.callFunctionOn", asked).await?)?)?;
        let asked = json!({ "objectId": list, "ownProperties": true });
        let properties = self.try_call("Runtime.getProperties", asked).await?;
        let elements = properties["result"].as_array().into_iter().flatten();
        elements.filter(|property| property["enumerable"] == true).map(|property| object(&property["value"])).collect()
    }

    async fn apply(&self, element: &str, script: &str, arguments: &[Value]) -> Result<Value, String> {
        let arguments: Vec<_> = arguments.iter().map(|value| json!({ "value": value })).collect();
        let asked = json!({
            "objectId": element, "functionDeclaration": script, "arguments": arguments, "returnByValue": true,
        });
        result(self.try_call("Runtime.callFunctionOn", asked).await?).map(|mut result| result["value"].take())
    }

    async fn click_at(&self, element: &str) -> Result<(), String> {
        let place = self.apply(element, PLACE, &[]).await?;
        if let Some(why) = place.as_str() {
            return Err(why.to_owned());
        }
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let asked = json!({
                "type": kind, "x": place["x"], "y": place["y"], "button": "left", "buttons": buttons, "clickCount": 1,
            });
            // Once it is pressed it happened, whatever the page became by it.
            let _ = self.try_call("Input.dispatchMouseEvent", asked).await;
        }
        Ok(())
    }

    async fn try_press(&self, key: &str) -> Result<(), String> {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            "Delete" => (46, ""),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            _ => (0, key),
        };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            let asked = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.try_call("Input.dispatchKeyEvent", asked).await?;
        }
        Ok(())
    }
}

/// The handle by which the browser names a thing.
fn object(remote: &Value) -> Result<String, String> {
    remote["objectId"].as_str().map(str::to_owned).ok_or_else(|| format!("it is no object: {remote}"))
}
