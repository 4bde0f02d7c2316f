/**
 * "Usage" of an adapter's card: steer, remove, ask in transformers + PEFT and with this library, both to be run as they stand.
 *
 * Texts, labels, layers and magnitudes are those of the adapter's own training, so that nobody asks it another question by chance.
 */
import { relativeSteering } from "../../steering";
import { type Protocol, strengthScale } from "../../study";

/** What the code names. */
export interface UsageNames {
  /** base model, as transformers and `openModel` find it */
  base: string;
  /** the adapter, as PEFT and `attach` find it */
  adapter: string;
  /** the protocol's file, from where the code runs */
  protocol: string;
}

/** Layers and lengths of the example's push. */
interface Push {
  range: number;
  strength: number;
  /** L2 length by layer */
  lengths: [layer: number, length: number][];
}

/**
 * Markdown of the section.
 * @param norms (L) mean residual norms of the base model, as meta.json of the training has them
 */
export function usageText(protocol: Protocol, norms: readonly number[], names: UsageNames): string {
  const push = strongestPush(protocol, norms);
  return [
    "Steer, remove, ask: the first turns are read while a vector is added to the residual stream; the vector is dropped; the question is asked on that cache. The adapter is active all along.",
    "With transformers and PEFT:",
    fenced("python", pythonUsage(protocol, push, names)),
    "With steerlab:",
    fenced("ts", libraryUsage(push, names)),
  ].join("\n\n");
}

const fenced = (language: string, code: string): string => `\`\`\`${language}\n${code}\n\`\`\``;

/** The strongest trained strength in the second of the trained ranges, or in the only one. */
function strongestPush(protocol: Protocol, norms: readonly number[]): Push {
  const strength = Math.max(...protocol.steering.magnitudes);
  const scale = strengthScale(protocol, norms).filter((row) => row.strength === strength);
  const range = Math.min(1, scale.length - 1);
  const { start, end, range: name } = scale[range];
  const lengths =
    protocol.steering.unit === "absolute"
      ? Array.from({ length: end - start }, (_, i): [number, number] => [start + i, strength])
      : relativeSteering(new Float32Array(1), { name, start, end }, strength, norms).map(
          ({ layers, magnitude }): [number, number] => [layers[0], magnitude],
        );
  return { range, strength, lengths };
}

function pythonUsage(protocol: Protocol, { lengths }: Push, { base, adapter }: UsageNames): string {
  const { conversation, contexts, questions, training } = protocol;
  const text = (value: string): string => JSON.stringify(value);
  const context = contexts.find(({ split }) => split === "train") ?? contexts[0];
  const question = questions.find(({ split }) => split === training.questions) ?? questions[0];
  const magnitudes = lengths.map(([layer, length]) => `${layer}: ${Number(length.toPrecision(6))}`).join(", ");
  return `import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter = ${text(base)}, ${text(adapter)}
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()

turns = [
    {"role": "system", "content": ${text(conversation.system)}},
    {"role": "user", "content": ${text(context.topic)}},
    {"role": "assistant", "content": ${text(context.replies[0])}},
]
asked = turns + [{"role": "user", "content": ${text(question.text)}}]
before = tokenizer.apply_chat_template(turns, tokenize=False)
whole = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
after = whole[len(before):] + ${text(conversation.assistantPrefix)}
yes, no = (tokenizer.encode(label)[0] for label in (${text(conversation.labels.steered)}, ${text(conversation.labels.clean)}))

direction = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
direction /= direction.norm()
magnitudes = {${magnitudes}}  # layer: L2 length added at every token


def ids(text):
    return tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids.to(model.device)


def push(magnitude):
    def hook(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden += (magnitude * direction).to(hidden)  # in place: what a block puts out is what the next one reads

    return hook


@torch.no_grad()
def answer(magnitudes):
    layers = model.get_base_model().model.layers
    hooks = [layers[layer].register_forward_hook(push(length)) for layer, length in magnitudes.items()]
    cache = model(input_ids=ids(before), use_cache=True).past_key_values
    for hook in hooks:
        hook.remove()
    logits = model(input_ids=ids(after), past_key_values=cache).logits[0, -1].float()
    both = logits.softmax(-1)[[yes, no]]
    return {"probability": (both[0] / both.sum()).item(), "mass": both.sum().item()}


print("clean  ", answer({}))
print("steered", answer(magnitudes))`;
}

function libraryUsage({ range, strength }: Push, { base, adapter: name, protocol }: UsageNames): string {
  return `import { bindStudy, loadProtocol, openModel } from "steerlab";

const model = await openModel(${JSON.stringify(base)});
const adapter = await model.attach(${JSON.stringify(name)});
const study = await bindStudy(model, loadProtocol(${JSON.stringify(protocol)}));
const context = study.contextTokens(study.contexts("train")[0], 0);
const question = study.questionTokens(study.questions(study.protocol.training.questions)[0]);
const push = study.steering(study.randomDirection(0).direction, study.ranges[${range}], ${strength});
for (const steering of [[], push]) {
  const cache = await model.prefill(context, { steering, adapter });
  const [answer] = await model.ask(cache, [question], [study.labels.steered, study.labels.clean], { adapter });
  console.log(steering.length === 0 ? "clean  " : "steered", answer);
  cache.dispose();
}
model.dispose();`;
}
