// Shows how far an upload is: what the browser has sent, and, once that was looked at, what the server has put into the
// bucket. Without it the forms work the same, and the browser just waits.
//
// data-file-limit, data-release-limit: in bytes, so that nothing is sent for nothing.

for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
  const total = form.querySelector("[data-chosen]");
  form.addEventListener("change", () => { if (total) total.textContent = chosen(form); });
}

function files(form) {
  return [...form.querySelectorAll("input[type=file]")].flatMap((input) => [...input.files]);
}

function chosen(form) {
  const all = files(form);
  return all.length === 0 ? "" : `${all.length.toLocaleString("en")} ${all.length === 1 ? "file" : "files"}, ${size(sum(all))}`;
}

const sum = (all) => all.reduce((bytes, file) => bytes + file.size, 0);

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${step === 0 ? bytes : (bytes / 2 ** (10 * step)).toFixed(1)} ${units[step]}`;
}

// Why these need not be sent.
function refusal(form) {
  const all = files(form);
  const most = Number(form.dataset.fileLimit);
  const large = all.find((file) => file.size > most);
  if (large) return `${large.webkitRelativePath || large.name} has ${size(large.size)}; one file may have ${size(most)}.`;
  if (sum(all) > Number(form.dataset.releaseLimit)) return `These are ${size(sum(all))}; a release may have ${size(Number(form.dataset.releaseLimit))}.`;
  return null;
}

function send(form) {
  const box = form.querySelector("[data-progress]");
  const bar = box.querySelector("progress");
  const word = box.querySelector("[role=status]");
  const button = form.querySelector("button:not([type=button])");
  const say = (text, done, total) => {
    word.textContent = text;
    if (total) { bar.max = total; bar.value = done; } else { bar.removeAttribute("value"); }
  };
  const end = (text) => {
    button.disabled = false;
    bar.hidden = true;
    word.textContent = text;
    word.className = "error";
  };
  const why = refusal(form);
  box.hidden = false;
  word.className = "";
  if (why) return end(why);
  bar.hidden = false;
  button.disabled = true;

  const hasFiles = form.enctype === "multipart/form-data";
  const request = new XMLHttpRequest();
  let read = 0;
  let last = null;
  // One JSON document a line: how far the server is, and at last where to go, or what is wrong.
  const listen = (isOver) => {
    const text = request.responseText;
    const whole = isOver ? text.length : text.lastIndexOf("\n") + 1;
    for (const line of text.slice(read, whole).split("\n").filter((line) => line.trim())) {
      try { last = JSON.parse(line); } catch { continue; }
      if (last.total_bytes !== undefined) {
        say(`${size(last.done_bytes)} of ${size(last.total_bytes)} are in the bucket`, last.done_bytes, last.total_bytes);
      }
    }
    read = whole;
  };
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/x-ndjson");
  request.upload.addEventListener("progress", (event) => {
    if (!hasFiles) return;
    const text = `${size(event.loaded)} of ${size(event.total)} sent`;
    say(event.loaded < event.total ? text : `${text}, the server looks at it…`, event.loaded, event.total);
  });
  request.addEventListener("progress", () => listen(false));
  request.addEventListener("load", () => {
    listen(true);
    // The page that shows both sides.
    if (request.status === 409 && !hasFiles) return form.submit();
    if (last?.location) location.assign(last.location);
    else end(last?.detail ?? `The server answered ${request.status}.`);
  });
  request.addEventListener("error", () => end("The connection broke. What has arrived in the bucket is kept: send it again, and it goes on from there."));
  request.send(hasFiles ? new FormData(form) : new URLSearchParams(new FormData(form)));
}
