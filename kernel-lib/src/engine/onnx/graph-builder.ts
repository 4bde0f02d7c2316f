/**
 * Collects nodes, constants, inputs and outputs of one ONNX graph under readable names.
 *
 * Every method that makes a node gives back the name of its (first) output, so that graph code reads like the formula. Equal
 * constants are stored once. Knows the format, not the model; shapes are the caller's.
 */
import {
  type AttributeProto,
  ELEMENT,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./schema";

/** A dimension: a number, or a name for one that is known only at run time. */
export type Dimension = number | string;

export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, TensorProto>();
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #counts = new Map<string, number>();
  #scope = "";

  /** Prefix of the names made from now on, such as "layers.3". */
  scope(name: string): void {
    this.#scope = name === "" ? "" : `${name}/`;
  }

  /** Adds a node with one output. @param output its name; default made from scope and operator */
  op(
    opType: string,
    input: readonly string[],
    attributes: Record<string, number | number[]> = {},
    output?: string,
  ): string {
    return this.#node(opType, input, attributes, [output ?? this.#fresh(opType)])[0];
  }

  /** Two equal halves along the last axis. */
  halves(input: string): [string, string] {
    const name = this.#fresh("Split");
    const [first, second] = this.#node("Split", [input], { axis: -1, num_outputs: 2 }, [`${name}.0`, `${name}.1`]);
    return [first, second];
  }

  /** A 64-bit integer constant; `shape` [] is a scalar. */
  integers(values: readonly number[], shape: readonly number[] = [values.length]): string {
    const name = `int:${values.join(",")}${shape.length === 0 ? "" : ":1d"}`;
    return this.initializer({
      name,
      dims: [...shape],
      dataType: ELEMENT.i64,
      rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
    });
  }

  /** A 32-bit float constant by name. */
  floats(name: string, values: Float32Array, shape: readonly number[]): string {
    return this.initializer({
      name,
      dims: [...shape],
      dataType: ELEMENT.f32,
      rawData: new Uint8Array(values.slice().buffer),
    });
  }

  /** A 32-bit float scalar. */
  scalar(value: number): string {
    return this.floats(`float:${value}`, Float32Array.of(value), []);
  }

  /** Any initial value, once per name. */
  initializer(tensor: TensorProto): string {
    this.#initializers.set(tensor.name, tensor);
    return tensor.name;
  }

  input(name: string, type: "f32" | "i64", shape: readonly Dimension[], doc: string): string {
    this.#inputs.push(valueInfo(name, type, shape, doc));
    return name;
  }

  output(name: string, type: "f32" | "i64", shape: readonly Dimension[], doc: string): void {
    this.#outputs.push(valueInfo(name, type, shape, doc));
  }

  build(name: string, docString: string): GraphProto {
    return {
      name,
      docString,
      node: this.#nodes,
      initializer: [...this.#initializers.values()],
      input: this.#inputs,
      output: this.#outputs,
    };
  }

  #fresh(opType: string): string {
    const stem = `${this.#scope}${opType}`;
    const count = this.#counts.get(stem) ?? 0;
    this.#counts.set(stem, count + 1);
    return count === 0 ? stem : `${stem}.${count}`;
  }

  #node(
    opType: string,
    input: readonly string[],
    attributes: Record<string, number | number[]>,
    output: string[],
  ): string[] {
    const attribute = Object.entries(attributes).map(
      ([name, value]): AttributeProto =>
        Array.isArray(value) ? { name, type: 7, ints: value } : { name, type: 2, i: value },
    );
    this.#nodes.push({ input: [...input], output, name: `node:${output[0]}`, opType, attribute });
    return output;
  }
}

function valueInfo(name: string, type: "f32" | "i64", shape: readonly Dimension[], docString: string): ValueInfoProto {
  const dim = shape.map((d) => (typeof d === "number" ? { dimValue: d } : { dimParam: d }));
  return { name, type: { tensorType: { elemType: ELEMENT[type], shape: { dim } } }, docString };
}
