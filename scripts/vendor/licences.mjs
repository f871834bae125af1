// Prints static/vendor/LICENSES.md: which packages are in which file, and their licences. What the bundle holds is
// read from esbuild's own account of it, so that nothing is forgotten.
import { readFileSync, readdirSync } from "node:fs";

const folder = "node_modules/";
const files = new Map();
const holds = (file, name) => files.set(name, (files.get(name) ?? new Set()).add(file));

for (const input of Object.keys(JSON.parse(readFileSync(process.argv[2], "utf8")).inputs)) {
  const name = input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1];
  if (name) holds("codemirror.js", name);
}
for (const [name, , file] of process.env.TAKEN.trim().split("\n").map((line) => line.trim().split(/\s+/))) {
  holds(file, name);
}

const texts = new Map();
const rows = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inFiles]) => {
  const { version, license, repository } = JSON.parse(readFileSync(`${folder}${name}/package.json`, "utf8"));
  const file = readdirSync(folder + name).find((file) => /^licen[sc]e/i.test(file));
  const text = readFileSync(`${folder}${name}/${file}`, "utf8").trim().replaceAll("\r", "");
  texts.set(text, [...(texts.get(text) ?? []), name]);
  const source = (repository.url ?? repository).replace(/^git\+/, "").replace(/\.git$/, "");
  return `| ${name} | ${version} | ${license} | ${source} | ${[...inFiles].join(", ")} |`;
});

console.log(`# Licences of what is in this folder

Made by \`scripts/vendor.sh\`.

| package | version | licence | source | in |
|---|---|---|---|---|
${rows.join("\n")}`);
for (const [text, names] of texts) {
  console.log(`\n## ${names.join(", ")}\n\n${text.replace(/^/gm, "    ").replace(/ +$/gm, "")}`);
}
