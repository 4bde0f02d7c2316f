/**
 * The part of the ONNX file format that we write and read, as a protobuf descriptor.
 *
 * Field numbers and types are those of the format's published onnx.proto (version 1.13, IR 8); fields that we never use are
 * left out, and a reader skips them. Encoding and decoding are protobufjs's. No graph knowledge here.
 */
import { Root } from "protobufjs/light";
import { DataError } from "../../base";

/** Standard operator set of every graph that we write. */
export const OPSET = 18;
/** File format version that belongs to it. */
export const IR_VERSION = 8;

/** Element types, by the numbers of the format. */
export const ELEMENT = { f32: 1, i64: 7, f16: 10 } as const;

export interface KeyValue {
  key: string;
  value: string;
}

export interface TensorProto {
  name: string;
  dims: number[];
  dataType: number;
  rawData?: Uint8Array;
  externalData?: KeyValue[];
  /** 1: the values are in the file that `externalData` names */
  dataLocation?: number;
}

export interface AttributeProto {
  name: string;
  /** 2 int, 7 ints: the only kinds in our graphs */
  type: number;
  i?: number;
  ints?: number[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  attribute: AttributeProto[];
}

export interface ValueInfoProto {
  name: string;
  type: { tensorType: { elemType: number; shape: { dim: { dimValue?: number; dimParam?: string }[] } } };
  docString: string;
}

export interface GraphProto {
  name: string;
  docString: string;
  node: NodeProto[];
  initializer: TensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
}

export interface ModelProto {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  docString: string;
  graph: GraphProto;
  opsetImport: { domain: string; version: number }[];
  metadataProps: KeyValue[];
}

type Field = { type: string; id: number; rule?: "repeated" };
const one = (type: string, id: number): Field => ({ type, id });
const many = (type: string, id: number): Field => ({ type, id, rule: "repeated" });

const FIELDS: Record<string, Record<string, Field>> = {
  ModelProto: {
    irVersion: one("int64", 1),
    producerName: one("string", 2),
    producerVersion: one("string", 3),
    docString: one("string", 6),
    graph: one("GraphProto", 7),
    opsetImport: many("OperatorSetIdProto", 8),
    metadataProps: many("StringStringEntryProto", 14),
  },
  GraphProto: {
    node: many("NodeProto", 1),
    name: one("string", 2),
    initializer: many("TensorProto", 5),
    docString: one("string", 10),
    input: many("ValueInfoProto", 11),
    output: many("ValueInfoProto", 12),
  },
  NodeProto: {
    input: many("string", 1),
    output: many("string", 2),
    name: one("string", 3),
    opType: one("string", 4),
    attribute: many("AttributeProto", 5),
  },
  AttributeProto: { name: one("string", 1), i: one("int64", 3), ints: many("int64", 8), type: one("int32", 20) },
  TensorProto: {
    dims: many("int64", 1),
    dataType: one("int32", 2),
    name: one("string", 8),
    rawData: one("bytes", 9),
    externalData: many("StringStringEntryProto", 13),
    dataLocation: one("int32", 14),
  },
  ValueInfoProto: { name: one("string", 1), type: one("TypeProto", 2), docString: one("string", 3) },
  TypeProto: { tensorType: one("TensorTypeProto", 1) },
  TensorTypeProto: { elemType: one("int32", 1), shape: one("TensorShapeProto", 2) },
  TensorShapeProto: { dim: many("DimensionProto", 1) },
  DimensionProto: { dimValue: one("int64", 1), dimParam: one("string", 2) },
  OperatorSetIdProto: { domain: one("string", 1), version: one("int64", 2) },
  StringStringEntryProto: { key: one("string", 1), value: one("string", 2) },
};

const nested = Object.fromEntries(Object.entries(FIELDS).map(([name, fields]) => [name, { fields }]));
const MODEL = Root.fromJSON({ nested }).lookupType("ModelProto");

/** The bytes of an ONNX file. */
export function encodeModel(model: ModelProto): Uint8Array {
  return MODEL.encode(MODEL.fromObject(model)).finish();
}

/**
 * Reads an ONNX file's bytes; absent fields are empty.
 * @throws DataError "onnx-damaged" if they are not a protobuf message of this kind
 */
export function decodeModel(bytes: Uint8Array, name: string): ModelProto {
  try {
    const message = MODEL.decode(bytes);
    return MODEL.toObject(message, { longs: Number, defaults: true, arrays: true }) as ModelProto;
  } catch (cause) {
    throw new DataError(
      "onnx-damaged",
      `Expected a whole ONNX file at ${name} but it ends early or holds something else. Export it again.`,
      { cause },
    );
  }
}
