// What the portal does beyond plain pages: themes, keys, how old what is shown is. Everything works without it.
"use strict";
(() => {
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };
  const root = document.documentElement;

  // Before anything is painted, so that nothing flashes.
  const themes = ["auto", "light", "dark"];
  let theme = themes.includes(remembered("theme")) ? remembered("theme") : "auto";
  const wear = () => { if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme; };
  wear();

  const span = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };

  // The server's clock, as this page learnt it: the browser's may be wrong.
  let aheadMs = 0;
  const tellTimes = (within) => {
    for (const time of within.querySelectorAll("time[datetime]:not([data-exact])")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      const seconds = (Date.now() + aheadMs - at) / 1000;
      const text = seconds < -4 ? `in ${span(-seconds)}` : seconds < 1 ? "just now" : `${span(seconds)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main");
    const age = document.getElementById("age");
    if (!age) return;

    const button = document.getElementById("theme");
    button.hidden = false;
    const nameTheme = () => { button.textContent = `Theme: ${theme}`; };
    nameTheme();
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      remember("theme", theme);
      wear();
      nameTheme();
    });

    // How old what is shown is.
    let readAt = age.dataset.age === "" ? null : performance.now() - Number(age.dataset.age) * 1000;
    let problem = "problem" in age.dataset;
    let paused = false;
    const tellAge = () => {
      const seconds = readAt === null ? null : Math.max(0, (performance.now() - readAt) / 1000);
      const old = seconds !== null && seconds > 45;
      age.toggleAttribute("data-old", old);
      age.toggleAttribute("data-problem", problem);
      age.toggleAttribute("data-paused", paused);
      const how = problem ? "bucket does not answer" : paused ? "paused" : stream ? (old ? "reconnecting…" : "live") : "";
      const text = (seconds === null ? "Not read yet" : `Read ${span(seconds)} ago`) + (how ? ` · ${how}` : "");
      if (age.textContent !== text) age.textContent = text;
    };

    // While the bucket is away nothing is sent, and each button says so. What was typed stays where it is.
    let told = 0;
    const gate = () => {
      if (!problem) {
        for (const reason of main.querySelectorAll("span[data-away]")) reason.remove();
        for (const button of main.querySelectorAll("button[data-away]")) {
          button.disabled = false;
          button.removeAttribute("data-away");
          button.removeAttribute("aria-describedby");
        }
        return;
      }
      for (const button of main.querySelectorAll("form[method=post] button:not([type=button], [value=edit], [disabled])")) {
        button.disabled = true;
        button.dataset.away = "";
        // In a table there is no room: the banner says it.
        if (button.closest("table")) { button.setAttribute("aria-describedby", offline.id); continue; }
        const reason = document.createElement("span");
        reason.id = `away-${told += 1}`;
        reason.className = "faint";
        reason.dataset.away = "";
        reason.textContent = "Nothing can be changed: the bucket does not answer.";
        button.setAttribute("aria-describedby", reason.id);
        (button.closest(".actions") ?? button.parentElement).append(" ", reason);
      }
    };

    // The stream says that something changed; parts that listen for it are fetched again.
    const stream = document.getElementById("stream");
    const offline = document.getElementById("offline");
    const take = (event) => {
      let stand;
      try { stand = JSON.parse(event.detail?.data ?? event.detail?.message?.data ?? ""); } catch { return; }
      readAt = stand.age_secs === null ? null : performance.now() - stand.age_secs * 1000;
      if (stand.at) aheadMs = Date.parse(stand.at) + stand.age_secs * 1000 - Date.now();
      problem = stand.problem !== null;
      offline.hidden = !problem;
      gate();
      if (problem) offline.textContent = `The bucket does not answer: ${stand.problem}. What was read before is shown; nothing can be changed until it answers.`;
      tellAge();
    };
    if (stream) {
      for (const name of ["fleet", "age"]) stream.addEventListener(name, take);
      const pause = document.getElementById("pause");
      pause.hidden = !document.getElementById("live");
      // What was not fetched while it was paused, or could not be, is as soon as it can be: nobody may tell of it again.
      let isMissing = false;
      const catchUp = () => {
        if (!isMissing || paused) return;
        isMissing = false;
        stream.dispatchEvent(new Event("fleet"));
      };
      const miss = (event) => { if (event.target.id === "live") isMissing = true; };
      for (const name of ["htmx:error", "htmx:response:error"]) document.addEventListener(name, miss);
      stream.addEventListener("age", catchUp);
      // In the capturing phase, before the parts that would be fetched hear of it.
      stream.addEventListener("fleet", (event) => {
        if (!paused) return;
        isMissing = true;
        event.stopImmediatePropagation();
      }, true);
      pause.addEventListener("click", () => {
        paused = !paused;
        pause.setAttribute("aria-pressed", String(paused));
        pause.firstElementChild.textContent = paused ? "Resume" : "Pause";
        tellAge();
        catchUp();
      });
      // A stream that broke is htmx's to open again; one that never was is not.
      let isOpen = false;
      let waitMs = 1000;
      stream.addEventListener("htmx:sse:after:connection", () => {
        isOpen = true;
        // htmx ends a stream when its page is hidden. Of one that was hidden before, it has to be told, once it reads it.
        setTimeout(() => { if (document.hidden) document.dispatchEvent(new Event("visibilitychange")); });
      });
      stream.addEventListener("htmx:finally:request", () => {
        if (isOpen) return;
        setTimeout(() => stream.dispatchEvent(new Event("connect")), waitMs * (0.7 + 0.6 * Math.random()));
        waitMs = Math.min(2 * waitMs, 60000);
      });
    }
    // What is asked for again and again is not while nobody looks.
    document.addEventListener("htmx:config:request", (event) => {
      if ((paused || document.hidden) && event.target.matches?.("[data-poll]")) event.preventDefault();
    });
    // A part that comes anew has its times in full.
    new MutationObserver(() => tellTimes(main)).observe(main, { childList: true, subtree: true });
    tellTimes(main);
    tellAge();
    setInterval(() => { if (!document.hidden) { tellTimes(main); tellAge(); } }, 1000);

    // Cells that are ticked stay so: the table is fetched again and again, and another cell may come to stand in a row.
    const ticked = new Set();
    const ticks = () => main.querySelectorAll("input[type=checkbox][name=cell][form=bulk]");
    const note = (tick) => { if (tick.checked) ticked.add(tick.value); else ticked.delete(tick.value); };
    const tellTicks = () => {
      const button = main.querySelector("button[data-ticked]");
      if (!button) return;
      const all = [...ticks()];
      for (const tick of all) if (tick.checked !== ticked.has(tick.value)) tick.checked = ticked.has(tick.value);
      const count = all.filter((tick) => tick.checked).length;
      const text = `The ${count} ticked`;
      if (button.textContent !== text) button.textContent = text;
      if (button.disabled !== (count === 0)) button.disabled = count === 0;
      const head = main.querySelector("th[data-tick-all]");
      if (!head || all.length === 0) return;
      let whole = head.querySelector("input");
      if (!whole) {
        whole = document.createElement("input");
        whole.type = "checkbox";
        whole.setAttribute("aria-label", "Tick every cell of this page");
        head.replaceChildren(whole);
      }
      whole.checked = count === all.length;
      whole.indeterminate = count > 0 && count < all.length;
    };
    main.addEventListener("change", (event) => {
      const head = event.target.closest?.("th[data-tick-all]");
      if (head) for (const tick of ticks()) { tick.checked = event.target.checked; note(tick); }
      else if (event.target.matches?.("[name=cell][form=bulk]")) note(event.target);
      else return;
      tellTicks();
    });
    for (const tick of ticks()) note(tick);
    // Before anything is painted or clicked: a row that got another cell loses the tick that it had.
    new MutationObserver(tellTicks).observe(main, { childList: true, subtree: true, attributes: true, attributeFilter: ["value", "disabled"] });
    tellTicks();

    // Digests are copied by a click.
    document.addEventListener("click", (event) => {
      const digest = event.target.closest?.("[data-copy]");
      if (!digest || !navigator.clipboard) return;
      navigator.clipboard.writeText(digest.dataset.copy).then(() => {
        const shown = digest.textContent;
        digest.textContent = "copied";
        setTimeout(() => { digest.textContent = shown; }, 900);
      }, () => {});
    });

    // Keys.
    const keys = document.getElementById("keys");
    const keysOn = document.getElementById("keys-on");
    keysOn.checked = remembered("keys") !== "off";
    keysOn.addEventListener("change", () => remember("keys", keysOn.checked ? "on" : "off"));
    const section = (key) => document.querySelector(`.sections a[data-key="${CSS.escape(key)}"]`);
    let isGo = false;
    const rows = () => [...main.querySelectorAll("tbody tr")].filter((row) => row.querySelector("a"));
    const step = (by) => {
      const all = rows();
      if (all.length === 0) return;
      const at = all.findIndex((row) => row.getAttribute("aria-selected") === "true");
      const to = Math.min(all.length - 1, Math.max(0, at + by));
      if (at >= 0) all[at].removeAttribute("aria-selected");
      all[to].setAttribute("aria-selected", "true");
      all[to].querySelector("a").focus();
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keysOn.checked) return;
      // A dialog that was just closed keeps the focus until the next frame.
      if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")?.checkVisibility()) return;
      const go = isGo;
      isGo = false;
      const key = event.key;
      if (go && section(key)) section(key).click();
      else if (key === "g") isGo = true;
      else if (key === "/") document.getElementById("search").focus();
      else if (key === "?") keys.showModal();
      else if (key === "j") step(1);
      else if (key === "k") step(-1);
      else return;
      event.preventDefault();
    });
  });
})();
