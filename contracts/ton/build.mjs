// Compiles the contracts with npm's Tolk into libs/xstock_chains/ton/artifacts/*.json.
//
// Why a script of our own: the output must be the same bytes on every machine, so the compiler
// version, its settings and the set of sources are fixed here, and JSON keys are sorted. It deploys
// nothing and reads nothing but the sources and node_modules. `--out DIR` writes elsewhere (the
// house test compares). `--stdin` takes a JSON object {job: {file: source}}, compiles each job with
// those sources in place of the files of that name, and prints {job: {contract: artifact}}: the
// tests compile contracts with one defence taken out that way.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const { runTolkCompiler } = require("@ton/tolk-js");

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const ENTRY_POINTS = { Bridge: "bridge.tolk", Wallet: "wallet.tolk" };
const SETTINGS = { optimizationLevel: 2, withStackComments: false, withSrcLineComments: false };

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

const unchanged = {};

/** Compiles both contracts with `changed` ({file: text}) in place of those files. */
async function compile(changed = {}) {
  const artifacts = {};
  for (const [name, entrypointFileName] of Object.entries(ENTRY_POINTS)) {
    const kept = unchanged[name];
    if (kept && !kept.files.some((path) => path in changed)) {
      artifacts[name] = kept.artifact;
      continue;
    }
    const used = {};
    const fsReadCallback = (path) => {
      used[path] = changed[path] ?? readFileSync(join(here, path), "utf8");
      return used[path];
    };
    const result = await runTolkCompiler({ entrypointFileName, fsReadCallback, ...SETTINGS });
    if (result.status === "error") throw new Error(result.message);
    if (result.stderr) console.error(result.stderr);
    const sources = Object.keys(used).sort().map((path) => [path, used[path]]);
    artifacts[name] = {
      codeBoc64: result.codeBoc64,
      codeHash: result.codeHashHex.toLowerCase(),
      compiler: `tolk ${result.tolkVersion}`,
      contractName: name,
      settings: SETTINGS,
      sourceHash: sha256(JSON.stringify(sources)),
    };
    if (!Object.keys(changed).length) {
      unchanged[name] = { files: Object.keys(used), artifact: artifacts[name] };
    }
  }
  return artifacts;
}

if (process.argv.includes("--stdin")) {
  const done = {};
  await compile();
  for (const [job, sources] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    done[job] = await compile(sources);
  }
  process.stdout.write(JSON.stringify(done));
} else {
  const at = process.argv.indexOf("--out");
  const out = at > 0 ? process.argv[at + 1] : join(root, "libs/xstock_chains/ton/artifacts");
  mkdirSync(out, { recursive: true });
  for (const [name, artifact] of Object.entries(await compile())) {
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
    console.log(`${name}: ${Buffer.from(artifact.codeBoc64, "base64").length} bytes of code`);
  }
}
