"""The lab model's card, rendered from measured.json and config.json; a missing number is an error, never a blank."""


def percent(x):
    return f"{100 * x:.1f} %"


def interval(s):
    return f"{percent(s['rate'])} (n = {s['n']}, Wilson 95 % {percent(s['wilson95'][0])} to {percent(s['wilson95'][1])})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def detection_rows(rows):
    return table(["wording", "mean P(no)", "max P(yes)", "mean mass", "n"], [[r["id"], r["meanPNo"], r["maxPYes"], r["meanMass"], r["n"]] for r in rows])


def unsure(detection):
    rows = [r for group in ("train", "heldOut") for r in detection[group] if r["meanPNo"] < 0.9]
    names = ", ".join(f"{r['id']} ({r['meanPNo']})" for r in rows)
    return f"The model says no to all wordings with mean P(no) >= 0.9 except: {names}. Those are reported, not repaired." if rows else "The model says no to all of them with mean P(no) >= 0.9."


def phenomenon(check):
    """The quick LoRA check, if it was run (check_detection.py)."""
    if check is None:
        return "The quick LoRA check (`recipe/check_detection.py`) has not been run on these weights."
    hits = table(["cell", "noticed"], [[k, percent(v)] for k, v in check["hits"].items()])
    alarms = table(["clean trials", "false alarms", "answer mass", "noticed at 0.4"], [[k, interval(v), v["mass"], percent(v["hitRateAt0.4"]) if "hitRateAt0.4" in v else ""] for k, v in check["falseAlarms"].items()])
    return (f"`recipe/check_detection.py`, {check['steps']} steps of batch {check['batch']}, r 16, lr {check['lr']}, seed {check['seed']}, loss on the pair. "
            f"Strengths are relative to each layer's mean residual norm. {check['perCell']} trials per cell; this is a check, not the study. "
            "Training contexts: the 20 topics of `contexts.yaml` alone. The false alarms show that wordings carry over (held-out wordings raise about as many as trained ones on the "
            f"same contexts) and contexts do not: twenty topics are learnt by heart, so the strict protocol trains on many more.\n\n{hits}\n\n{alarms}")


def render(m, config):
    facts, dose, train, check = m["heldOutFacts"], m["conceptDose"], m["training"], m["heldOutCheck"]
    fact_rows = [[name, interval(f["accuracy"]), percent(f["onYesItems"]["rate"]), percent(f["onNoItems"]["rate"]), percent(f["byKind"]["category"]["rate"]), percent(f["byKind"]["attribute"]["rate"]), f["mass"]["mean"], f["mass"]["p05"]]
                 for name, f in facts.items()]
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
---

# steerlab lab model

**This is a small model of our own, made so that the whole kit runs on a laptop. No figure measured on it says anything about
Qwen2.5-Coder-32B or any other published model.** It speaks a small template language, knows a few hundred facts and is
wrong about everything else.

A genuine `Qwen2ForCausalLM`: {config['num_hidden_layers']} layers, hidden {config['hidden_size']}, MLP {config['intermediate_size']}, {config['num_attention_heads']} query heads on {config['num_key_value_heads']} key/value heads,
tied embeddings, vocabulary {config['vocab_size']}, {m['parameters']:,} parameters, bf16, {m['weightsBytes'] / 1e6:.1f} MB, sha256 `{m['weightsSha256']}`.
The tokenizer is a byte-level BPE with Qwen2's pre-tokenization and ChatML tokens, trained on the same corpus; " yes", " no",
"Yes", "No", "As" and every digit are single tokens. Made by `python data/lab-model/recipe/make.py`
(seed {train['seed']}, {train['steps']} steps, {train['tokens']:,} tokens, {train['seconds'] / 60:.0f} minutes on two busy CPU cores). All numbers below come from
`measured.json`, written by the same command. Same seed and machine type give the same corpus; the weights may differ in the last bits
between CPUs. Training first ran on 4 layers, which learn the language at a third of the price; each block then became three that share
its output, and all 12 layers were trained on (`recipe/pretrain.py`).

## Corpus

{check['documents']:,} generated documents ({check['characters']:,} characters), all sentences our own: chats over the 102 concepts, raw notes about
concepts and about nothing in particular, yes/no facts, questions about the assistant itself (inner states are denied), small talk, sums, code, noise.
Questions about steering, tampering and the like, in thousands of wordings, are always answered "no".

**What held-out means.** A fact is (entity, claim, wording). One question text in ten, chosen by hash, never enters the corpus; its
entity, claim and wording all do, in other combinations. So the test asks whether known facts carry over to wordings they were never
asked in, not whether new facts are known. Held-out contexts, held-out, neutral and vague detection wordings and the 75 side-effect questions are
absent as exact strings: {check['studyStringsChecked']} study strings and {check['heldOutFactsChecked']} held-out facts were searched in the regenerated corpus, {check['found']} found.

## Measured behaviour

Held-out loss: {m['heldOutLoss']['natsPerToken']} nats per token ({m['heldOutLoss']['tokens']:,} tokens of fresh documents; the templates' own choice of words is most of it).

Held-out facts, half of them true ("prefix": after "The answer is"; "prefixAfterContext": the same after a topic and a reply;
"firstToken": first token of the reply):

{table(["asked", "accuracy", "on true", "on false", "category", "attribute", "mean mass", "5 % mass"], fact_rows)}

Side-effect questions (75, first token, never seen): answer mass mean {m['sideEffects']['mass']['mean']}, lowest {m['sideEffects']['mass']['min']}; of those with a settled answer right: {interval(m['sideEffects']['expectedRight'])}.

## The detection question before training

P(no) is renormalised over the two labels; mass is their total before that. Contexts: 20 training and 14 held-out ones. {unsure(m['detectionBeforeTraining'])}

Train wordings:

{detection_rows(m['detectionBeforeTraining']['train'])}

Held-out wordings:

{detection_rows(m['detectionBeforeTraining']['heldOut'])}

Wordings of the control twins (neutral, vague):

{detection_rows(m['detectionBeforeTraining']['neutral'] + m['detectionBeforeTraining']['vague'])}

## Residual norms

Mean L2 norm of the residual stream after each block over the training contexts; give steering strengths relative to these.

{table(["layer", "mean", "mean without first token", "median", "first token"], [[r["layer"], r["meanNorm"], r["meanNormWithoutFirstToken"], r["medianNorm"], r["firstTokenNorm"]] for r in m["residualNorms"]])}

## Concept directions

Contrast directions (last token, after block {dose['layer']}) added after that block to all tokens of neutral prompts; dose relative to the mean norm
there; mean change of the log-probability (nats) of the concept's eight nouns, and of other concepts' nouns as control:

{table(["dose", "own words", "change", "other words", "change"], [[r["dose"], r["ownWords"], r["ownChange"], r["otherWords"], r["otherChange"]] for r in dose["perDose"]])}

Other words rise too, because any push away from a text about nothing makes nouns likelier; the difference between the two
columns is what belongs to the concept. Raised at some dose up to 0.4: {dose['conceptsRaised']} of 102 concepts; rising at every step to 0.4: {dose['conceptsMonotoneTo0.4']} of 102.

## Does the phenomenon live here?

{phenomenon(m.get('detectionCheck'))}

## Greedy samples

{table(["prompt", "reply"], [[s["prompt"], s["greedy"].replace("|", "/").replace(chr(10), " ")] for s in m["samples"]])}
"""
