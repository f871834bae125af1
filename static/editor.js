// Turns a <textarea data-editor> into an editor with line numbers, colours and the server's opinion of the text. The
// textarea stays: it holds the text that its form sends, and is all there is when this cannot be loaded.
//
// data-editor     "yaml" or "text"
// data-codemirror where the editor is
// data-check      where a text is posted to be told what is wrong with it (optional)
// data-unsaved    present if what is in it is not saved anywhere

const PAUSE_MS = 400;

let leaving = false;
addEventListener("pageshow", () => { leaving = false; });

for (const area of document.querySelectorAll("textarea[data-editor]")) {
  guard(area);
  upgrade(area);
}

// Asks before a text that is not saved is left.
function guard(area) {
  const saved = "unsaved" in area.dataset ? null : area.defaultValue;
  area.form?.addEventListener("submit", (event) => { leaving = !event.defaultPrevented; });
  addEventListener("beforeunload", (event) => {
    if (!leaving && area.value !== saved) event.preventDefault();
  });
}

async function upgrade(area) {
  let cm;
  try {
    cm = await import(area.dataset.codemirror);
  } catch {
    return;
  }
  const label = area.labels?.[0];
  const problems = document.querySelector(`[data-problems-of="${CSS.escape(area.id)}"]`);

  // In a shadow root CodeMirror adopts its style sheets, which the page's policy lets it; in the page it would have to
  // write <style> elements.
  const host = document.createElement("div");
  host.className = "editor";
  const root = host.attachShadow({ mode: "open" });
  const view = new cm.EditorView({
    doc: area.value,
    // Whoever types already goes on where they are.
    selection: { anchor: area.selectionStart, head: area.selectionEnd },
    root,
    parent: root,
    extensions: [
      extensions(cm, area.dataset.editor, label?.textContent?.trim() || "Text"),
      cm.EditorView.updateListener.of((update) => {
        if (!update.docChanged) return;
        area.value = update.state.doc.toString();
        check();
      }),
    ],
  });
  const isTypedIn = document.activeElement === area || area.autofocus;
  area.before(host);
  area.hidden = true;
  // The editor numbers the lines itself.
  for (const plain of document.querySelectorAll("[data-without-editor]")) plain.hidden = true;
  label?.addEventListener("click", () => view.focus());
  if (isTypedIn) view.focus();

  // Whatever else changes the textarea is seen in the editor: the browser that restores it, a script, a test.
  const follow = () => {
    const text = view.state.doc.toString();
    if (area.value.replaceAll("\r\n", "\n") !== text) {
      view.dispatch({ changes: { from: 0, to: text.length, insert: area.value } });
    }
  };
  area.addEventListener("input", follow);
  addEventListener("pageshow", follow);

  // A place in the text; columns are counted in characters, and CodeMirror counts UTF-16 units.
  const place = (line, column) => {
    const found = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
    const before = [...found.text].slice(0, Math.max(column - 1, 0)).join("").length;
    return { line: found, at: found.from + before };
  };
  const show = (found) => {
    const marks = found.map(({ line, column, end_column, severity, message, help }) => {
      const { line: where, at: from } = place(line, column);
      const to = end_column ? place(line, end_column).at : where.to;
      return { from, to: Math.max(from, to), severity, message: help ? `${message}\n${help}` : message };
    });
    view.dispatch(cm.setDiagnostics(view.state, marks));
  };
  problems?.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-line]");
    if (!link) return;
    event.preventDefault();
    const { at } = place(Number(link.dataset.line), Number(link.dataset.column));
    view.dispatch({ selection: { anchor: at }, effects: cm.EditorView.scrollIntoView(at, { y: "center" }) });
    view.focus();
  });

  let timer = 0;
  let asking = null;
  function check() {
    if (!area.dataset.check) return;
    clearTimeout(timer);
    asking?.abort();
    timer = setTimeout(async () => {
      asking = new AbortController();
      try {
        const answer = await fetch(area.dataset.check, {
          method: "POST", body: area.value, signal: asking.signal,
          headers: { "Content-Type": "text/plain; charset=utf-8", Accept: "application/json" },
        });
        if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
        const found = await answer.json();
        show(found);
        list(problems, found);
      } catch (error) {
        if (error.name !== "AbortError") tell(problems, `The text could not be checked: ${error.message}.`);
      }
    }, PAUSE_MS);
  }
  if (area.value.trim()) check();
}

function extensions(cm, kind, label) {
  const { EditorView, keymap, tags } = cm;
  const color = (name) => ({ color: `var(--code-${name})` });
  const colours = cm.HighlightStyle.define([
    { tag: [tags.propertyName, tags.definition(tags.propertyName)], ...color("key") },
    { tag: [tags.string, tags.content, tags.special(tags.string)], ...color("text") },
    { tag: [tags.comment, tags.lineComment], ...color("comment") },
    { tag: [tags.punctuation, tags.separator, tags.bracket, tags.squareBracket, tags.brace, tags.meta], ...color("mark") },
    { tag: [tags.keyword, tags.number, tags.bool, tags.atom, tags.typeName, tags.labelName], ...color("word") },
  ]);
  const theme = EditorView.theme({
    "&": { color: "var(--text)", backgroundColor: "var(--panel)", border: "1px solid var(--faint)", borderRadius: "var(--radius)", fontSize: ".875rem" },
    "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "1px" },
    ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5", minHeight: "16rem", maxHeight: "70vh", overflow: "auto" },
    ".cm-content": { caretColor: "var(--text)" },
    ".cm-cursor": { borderLeftColor: "var(--text)" },
    ".cm-gutters": { backgroundColor: "var(--raised)", color: "var(--faint)", borderRight: "1px solid var(--line)" },
    ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--raised) 60%, transparent)" },
    "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent)" },
    ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)" },
    ".cm-diagnostic": { whiteSpace: "pre-wrap", maxWidth: "40rem" },
    ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
    ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
    ".cm-foldPlaceholder": { backgroundColor: "var(--raised)", color: "inherit", border: "1px solid var(--line)" },
  });
  return [
    cm.lineNumbers(), cm.highlightActiveLineGutter(), cm.highlightSpecialChars(), cm.history(), cm.drawSelection(),
    cm.indentUnit.of("  "), cm.EditorState.tabSize.of(2), cm.bracketMatching(), cm.highlightActiveLine(),
    kind === "yaml" ? [cm.yaml(), cm.foldGutter(), cm.indentOnInput(), cm.lintGutter()] : EditorView.lineWrapping,
    cm.syntaxHighlighting(colours), theme,
    // Tab stays with the browser, so that nobody is caught in here; Ctrl-] and Ctrl-[ indent.
    keymap.of([...cm.defaultKeymap, ...cm.historyKeymap, ...cm.foldKeymap, ...cm.lintKeymap]),
    // What takes the place of a selection Chromium would insert with inline styles, which the page's policy refuses.
    EditorView.domEventHandlers({ beforeinput: replaceSelected }),
    EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0", spellcheck: "false", autocapitalize: "off" }),
  ];
}

function replaceSelected(event, view) {
  if (event.inputType !== "insertText" || event.data === null || event.isComposing) return false;
  // What the browser has selected: the editor may not have heard of it yet.
  const selected = view.root.getSelection?.();
  if (!selected || selected.rangeCount === 0 || selected.isCollapsed) return false;
  const range = selected.getRangeAt(0);
  const from = view.posAtDOM(range.startContainer, range.startOffset);
  const to = view.posAtDOM(range.endContainer, range.endOffset);
  event.preventDefault();
  const selection = { anchor: from + event.data.length };
  view.dispatch({ changes: { from, to, insert: event.data }, selection, userEvent: "input.type", scrollIntoView: true });
  return true;
}

// The same as the server writes into the page; see templates/editor/parts.html.
function list(problems, found) {
  if (!problems) return;
  const errors = found.filter(({ severity }) => severity === "error").length;
  tell(problems, found.length === 0 ? "Nothing is wrong with it." : count(errors, "mistake") + (found.length > errors ? `${errors ? ", " : ""}${count(found.length - errors, "warning")}` : ""));
  const items = found.map(({ line, column, severity, message, help }) => {
    const item = document.createElement("li");
    item.className = severity;
    const link = document.createElement("a");
    link.href = `#line-${line}`;
    Object.assign(link.dataset, { line, column });
    link.textContent = `Line ${line}, column ${column}`;
    item.append(link, `: ${message}`);
    if (help) {
      const more = document.createElement("span");
      more.className = "faint";
      more.textContent = ` (${help})`;
      item.append(more);
    }
    return item;
  });
  problems.querySelector("ol").replaceChildren(...items);
}

function count(number, what) {
  return number === 0 ? "" : number === 1 ? `1 ${what}` : `${number} ${what}s`;
}

function tell(problems, text) {
  const status = problems?.querySelector("[role=status]");
  if (status && status.textContent !== text) status.textContent = text;
}
