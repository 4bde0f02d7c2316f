/** What each command of `steerlab` takes and says about itself. Data only: loading it loads no engine. */
import { DTYPE_FLAG, MODEL_FLAG, THREADS_FLAG } from "./engine-flags";
import type { CommandTable } from "./flags";

/** The main job: train, sweep, side effects, and what the model says of itself: all that the report's opening needs. */
export const DEFAULT_NOTEBOOKS: ReadonlyArray<string> = [
  "01-train",
  "02-concept-sweep",
  "03-side-effects",
  "04-self-knowledge",
];

/** `steerlab score` */
export const SCORE = {
  about: "score a file of steered trials (JSONL in, JSONL out)",
  usage: "--model DIR --trials in.jsonl --out out.jsonl [options]",
  text: `Scores trials: the context is prefilled with its steering, the steering is dropped, the question is asked on that cache.`,
  operands: null,
  flags: {
    model: MODEL_FLAG,
    adapter: {
      kind: "text",
      value: "DIR|RUN|ORG/NAME[/STEP]",
      about: "PEFT LoRA adapter, or the run that trained it; active on context and question",
    },
    "other-base": {
      kind: "choice",
      choices: ["refuse", "accept"],
      about:
        "accept: take an adapter that was trained here on other weights (its shapes must still fit); one that\nonly names another base model is taken anyway, with a note on stderr",
    },
    trials: {
      kind: "text",
      value: "FILE",
      required: true,
      about: `one trial a line: {"id", "context": ids, "question": ids,
"steering": [{"vector": numbers, "layers": [start, end), "magnitude", "span"?: [start, end)}],
"report": {"tokens": ids, "topK": n}}
vectors are used as given; span defaults to the whole context; every id once; an empty context asks the
bare question, without steering; the question is not empty, nor are tokens unless topK is above 0`,
    },
    out: {
      kind: "text",
      value: "FILE",
      required: true,
      about: `one result a line: {"id", "logprobs", "mass", "topK": [{"token", "logprob"}]}; its folder is made if it
is missing, and an old file is replaced as a whole when all trials are done; /dev/stdout works too`,
    },
    backend: {
      kind: "choice",
      choices: ["auto", "cpu", "cuda", "onnx"],
      about: "cpu, cuda or onnx (default: cuda where usable, else cpu)",
    },
    dtype: DTYPE_FLAG,
    threads: THREADS_FLAG,
    batch: { kind: "whole", least: 1, about: "trials a call (default 32); changes speed and memory, not the numbers" },
  },
} as const satisfies CommandTable;

/** `steerlab train` */
export const TRAIN = {
  about: "train a LoRA adapter on a file of examples",
  usage: "--model DIR --examples ex.jsonl --vectors v.safetensors --config train.yaml --out RUN [options]",
  text: `Trains a LoRA adapter: contexts are prefilled steered, questions asked clean, the loss is on the last question position.`,
  operands: null,
  flags: {
    model: MODEL_FLAG,
    examples: {
      kind: "text",
      value: "FILE",
      required: true,
      about: `one example a line: {"id", "context": ids, "question": ids, "labels": [idA, idB], "target": 0|1,
"steering": null | {"vectorIndex", "layers": [start, end), "magnitude"}}
an empty context asks the bare question, without steering`,
    },
    vectors: {
      kind: "text",
      value: "FILE",
      required: true,
      about:
        'directions: safetensors with "vectors" (n, hidden_size), or another format of readDirections;\nrows are floats, not zero, and normalised where their length is not 1',
    },
    config: {
      kind: "text",
      value: "FILE",
      required: true,
      about: `lora: {r, alpha, dropout, target_modules}, optimizer: {lr, betas, eps, weight_decay, max_grad_norm},
schedule: {warmup_steps, total_steps}, batch, epochs, order: given|shuffled,
loss: pair|full|pair+mass, mass_weight (pair+mass only), seed
max_grad_norm 0 or null clips nothing; weight_decay is 0.01 unless given; training ends with the
epochs or with total_steps, whichever is first`,
    },
    out: {
      kind: "text",
      value: "RUN",
      required: true,
      about: "run folder: adapter/ (PEFT files), events.jsonl, checkpoints/; one that holds a run is refused",
    },
    "init-adapter": {
      kind: "text",
      value: "DIR|RUN",
      about: "start from this adapter, or from what this run trained, instead of a fresh one",
    },
    "other-base": {
      kind: "choice",
      choices: ["refuse", "accept"],
      about: "accept: take an initial adapter that was trained here on other weights (its shapes must still fit)",
    },
    resume: {
      kind: "switch",
      about: "go on from the newest checkpoint of the run in RUN, with the same inputs, backend and dtype",
    },
    "checkpoint-every": {
      kind: "whole",
      least: 1,
      about: "steps between checkpoints (default 50; the last step is always saved)",
    },
    backend: {
      kind: "choice",
      choices: ["auto", "cpu", "cuda", "onnx"],
      about: "cpu or cuda (default: cuda where usable, else cpu)",
    },
    dtype: DTYPE_FLAG,
    threads: THREADS_FLAG,
    "micro-batch": {
      kind: "whole",
      least: 1,
      about: "examples a pass (default: whole batch); memory and speed, not the numbers",
    },
  },
} as const satisfies CommandTable;

/** `steerlab twins` */
export const TWINS = {
  about: "train and measure a study beside its control twins",
  usage: "[--twins NAME,NAME] [--seeds 1,2,3] [--out DIR] [options] [-p protocol.FIELD VALUE ...]",
  text: `Trains a study and its twins (the same study with one thing changed) by every seed and measures detection, selectivity and side
effects of each, over one loaded model. Says what it will take, then runs; stopped, it goes on when it is run again.`,
  operands: null,
  flags: {
    model: {
      kind: "text",
      value: "DIR|FILE|ORG/NAME",
      about: "checkpoint folder, .gguf file or hub name (default: the lab model)",
    },
    protocol: { kind: "text", value: "NAME|FILE", about: "a shipped protocol or a YAML file (default: strict)" },
    twins: {
      kind: "text",
      value: "NAME,...",
      about: `no-retention, no-steer, flipped, corrupt, deny, neutral, vague, unrelated, pair, full, rank-1;
labels-left-right (left for steered, right for clean; any two words of one token each);
band-early, band-middle, band-late; retention-weight-4 (or another weight: what detection costs elsewhere, as a curve)
(default: all but deny, vague and unrelated, and but what the study is already; labels in both orders; weights 4 and 16)`,
    },
    seeds: { kind: "text", value: "N,...", about: "training seeds (default: 1,2,3)" },
    out: { kind: "text", value: "DIR", about: "folder for the runs, twins.json and twins.html (default: runs/twins)" },
    backend: {
      kind: "choice",
      choices: ["auto", "cpu", "cuda"],
      about: "cpu or cuda (default: cuda where usable, else cpu)",
    },
    dtype: {
      ...DTYPE_FLAG,
      about:
        "f32 or bf16 (default: as in the notebooks, bf16 where the hardware multiplies it); f64 on the cpu for checks",
    },
    threads: THREADS_FLAG,
    parameter: {
      kind: "pairs",
      about: "-p protocol.training.examples 2000 changes one field of the protocol, in the study and all twins",
    },
  },
} as const satisfies CommandTable;

/** `steerlab export-onnx` */
export const EXPORT_ONNX = {
  about: "write a model as a steerable ONNX graph for onnxruntime",
  usage: "--model DIR --out FILE.onnx [options]",
  text: `Writes a Qwen2 model as an ONNX graph of standard operators: steering, caches and adapters are inputs. The weights go to
FILE.onnx.data; keep the two files together. What each input means stands in the file's metadata.`,
  operands: null,
  flags: {
    model: MODEL_FLAG,
    adapter: {
      kind: "text",
      value: "DIR|RUN",
      about: "PEFT LoRA adapter to build in, or the run that trained it; without it adapters stay inputs",
    },
    out: { kind: "text", value: "FILE", required: true, about: "the graph file, ending in .onnx" },
    dtype: {
      kind: "choice",
      choices: ["f32", "f16"],
      about: "how weights are stored: f32 (default) or f16; arithmetic is f32 in both",
    },
  },
} as const satisfies CommandTable;

/** `steerlab batch` */
export const BATCH = {
  about: "run notebooks headless and render their reports (the main job)",
  usage: "[--notebook NAME ...] [--out DIR] [-p NAME VALUE ...]",
  text: `Runs notebooks headless and renders each to HTML, with an index page; exits with 1 unless every notebook is valid.`,
  operands: null,
  flags: {
    notebook: {
      kind: "text",
      value: "NAME",
      many: true,
      about: `a file of notebooks/ or a path; repeat for several (default: ${DEFAULT_NOTEBOOKS.join(", ")})`,
    },
    out: {
      kind: "text",
      value: "DIR",
      about: `folder for everything (default: runs/batch); an existing one is continued: notebooks whose text, parameters
and inputs are unchanged and whose results are still there are kept`,
    },
    fresh: { kind: "switch", about: "run everything again, in a new folder beside --out" },
    "start-timeout": { kind: "whole", least: 1, about: "seconds that a kernel may take to start (default 300)" },
    parameter: {
      kind: "pairs",
      about: `a parameter, given to every notebook that declares it; also -p NAME=VALUE. VALUE is JSON or plain text; a
path is looked for from here, then from the project. -p protocol.training.optimizer.lr 2e-4 changes one
field of the protocol`,
    },
  },
} as const satisfies CommandTable;

/** `steerlab lab`; what follows goes to Jupyter unread. */
export const LAB = {
  about: "open JupyterLab with the TypeScript kernel",
  usage: "[JUPYTER ARGUMENTS]",
  text: `Opens JupyterLab on notebooks/ with the kernel "TypeScript (steerlab)". Arguments go to jupyter lab.`,
  operands: null,
  flags: {},
} as const satisfies CommandTable;

/** `steerlab kernel` */
export const KERNEL = {
  about: "install the TypeScript kernel into a Jupyter of your own",
  usage: "install [--user | --prefix DIR]",
  text: `Writes the kernelspec "TypeScript (steerlab)" for a Jupyter of your own.`,
  operands: { name: '"install"', least: 1 },
  flags: {
    user: { kind: "switch", about: "for this user (default)" },
    prefix: { kind: "text", value: "DIR", about: "into an environment, such as that of conda" },
  },
} as const satisfies CommandTable;

/** `steerlab report` */
export const REPORT = {
  about: "rebuild the HTML report of run folders, without a model",
  usage: "RUN [RUN ...] [--out FILE]",
  text: `Writes one self-contained HTML page over run folders, most important first (detection, side effects and training of one
adapter). A folder of runs, such as runs/batch, stands for all its finished runs, those of the newest adapter first.`,
  operands: { name: "run folder", least: 1 },
  flags: { out: { kind: "text", value: "FILE", about: "default: report.html in the first folder given" } },
} as const satisfies CommandTable;

/** `steerlab pack` */
export const PACK = {
  about: "copy finished runs without weights, small enough to share",
  usage: "RUN [RUN ...] --out DIR",
  text: `Copies records (gzip), protocol, events, summary and meta.json of finished runs into DIR. A folder of runs stands for all its
finished runs. steerlab report reads the copies as it reads the runs.`,
  operands: { name: "run folder", least: 1 },
  flags: {
    out: { kind: "text", value: "DIR", required: true, about: "folder for the copies; each keeps its run's name" },
  },
} as const satisfies CommandTable;

/** `steerlab publish` */
export const PUBLISH = {
  about: "build an adapter's folder with its card, and upload it to a hub",
  usage: "RUN [EVALUATION ...] [--to ORG/NAME] [--base-model ORG/NAME] [--dry-run] [options]",
  text: `Builds a folder from a training run: PEFT files, manifest, protocol and a card generated from the records (by default of all
finished evaluations beside the run), then uploads it in one commit. HF_TOKEN needs write access; HF_ENDPOINT names another hub.`,
  operands: { name: "training run", least: 1 },
  flags: {
    to: { kind: "text", value: "ORG/NAME", about: "repository, made if it is not there; the card's usage names it" },
    "base-model": {
      kind: "text",
      value: "ORG/NAME",
      about: "the base model's name on the hub, for the card and adapter_config.json (default: as it was opened)",
    },
    out: { kind: "text", value: "DIR", about: "folder to build (default: publication in the run folder)" },
    "dry-run": { kind: "switch", about: "build the folder and send nothing" },
    private: { kind: "switch", about: "a new repository is private" },
  },
} as const satisfies CommandTable;

/** `steerlab doctor` */
export const DOCTOR = {
  about: "say what this machine has, what is missing, and what mends it",
  usage: "",
  text: `Prints one line per thing this project needs or can use, with a remedy where one is missing; exits with 1 if a needed one is.`,
  operands: null,
  flags: {},
} as const satisfies CommandTable;
