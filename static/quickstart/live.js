// Shows which process serves this page, and loads the page anew once that process is of another version.
const place = document.getElementById("process");
let version;

async function look() {
  try {
    const process = await (await fetch("process")).json();
    if (version !== undefined && version !== process.version) {
      location.reload();
    }
    version = process.version;
    const since = new Date(process.since).toLocaleTimeString();
    place.textContent = `· version ${version} · process ${process.pid} · since ${since}`;
  } catch {
    place.textContent = "· nobody answers";
  }
  setTimeout(look, 500);
}

look();
