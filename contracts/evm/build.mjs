// Compiles the contracts with npm's solc into libs/xstock_chains/solidity/artifacts/*.json.
//
// Why a script of our own: the output must be the same bytes on every machine, so the compiler
// version, every setting and the set of sources are fixed here, metadata carries no hash of paths,
// and JSON keys are sorted. It does not deploy anything and reads nothing but the sources and
// node_modules. `--out DIR` writes elsewhere (the house test compares). `--stdin` takes a JSON
// object {job: {path: source}}, compiles each job's sources (they take the place of the files of
// that name) without optimisation, which is eight times faster, and prints {job: {contract:
// artifact}}: the tests compile hostile tokens and mutated bridges that way.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const ENTRY_POINTS = ["SanctionsList.sol", "XStockBridge.sol", "XStockToken.sol"];
const SETTINGS = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 1000 },
  viaIR: false,
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: {
    "*": {
      "*": [
        "abi",
        "evm.bytecode.object",
        "evm.deployedBytecode.object",
        "evm.deployedBytecode.immutableReferences",
      ],
    },
  },
};

const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

const FAST_SETTINGS = { ...SETTINGS, optimizer: { enabled: false }, viaIR: false };

/** Compiles `sources` ({unit: text}) and returns {contract name: artifact}. */
function compile(sources, settings = SETTINGS) {
  const used = { ...sources };
  const read = (path) => {
    const file = path.startsWith("@") ? join(root, "node_modules", path) : join(here, path);
    try {
      used[path] ??= readFileSync(file, "utf8");
      return { contents: used[path] };
    } catch {
      return { error: `no such source: ${path}` };
    }
  };
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.entries(sources).map(([k, content]) => [k, { content }])),
    settings,
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
  const errors = (output.errors ?? []).filter((e) => e.severity === "error");
  if (errors.length) throw new Error(errors.map((e) => e.formattedMessage).join("\n"));
  for (const warning of settings === SETTINGS ? (output.errors ?? []) : []) {
    if (!warning.sourceLocation?.file.startsWith("@")) console.error(warning.formattedMessage);
  }
  const sourceHash = sha256(JSON.stringify(sorted(used)));
  const artifacts = {};
  for (const unit of Object.keys(sources)) {
    for (const [name, contract] of Object.entries(output.contracts[unit] ?? {})) {
      if (!contract.evm.bytecode.object) continue;
      artifacts[name] = sorted({
        abi: contract.abi,
        bytecode: `0x${contract.evm.bytecode.object}`,
        compiler: solc.version(),
        contractName: name,
        deployedBytecode: {
          immutableReferences: contract.evm.deployedBytecode.immutableReferences,
          object: `0x${contract.evm.deployedBytecode.object}`,
        },
        settings,
        sourceHash,
      });
    }
  }
  return artifacts;
}

const entrySources = () =>
  Object.fromEntries(ENTRY_POINTS.map((name) => [name, readFileSync(join(here, name), "utf8")]));

if (process.argv.includes("--stdin")) {
  const jobs = Object.entries(JSON.parse(readFileSync(0, "utf8")));
  const done = jobs.map(([job, sources]) => [job, compile(sources, FAST_SETTINGS)]);
  process.stdout.write(JSON.stringify(Object.fromEntries(done)));
} else {
  const at = process.argv.indexOf("--out");
  const out = at > 0 ? process.argv[at + 1] : join(root, "libs/xstock_chains/solidity/artifacts");
  mkdirSync(out, { recursive: true });
  for (const [name, artifact] of Object.entries(compile(entrySources()))) {
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
    const size = (artifact.deployedBytecode.object.length - 2) / 2;
    console.log(`${name}: ${size} bytes deployed`);
  }
}
