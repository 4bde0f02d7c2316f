/**
 * Steering plans of many rows as one table of columns; a direction used by many rows is stored once.
 */
import type { NativeSteering } from "@steerlab/native";
import type { ModelConfig } from "../../checkpoint";
import { checkDirection, checkSteering } from "../checks";
import type { Steering } from "../types";

/** Collects entries row by row, then gives the columns. */
export class SteeringTable {
  private readonly directions = new Map<Float32Array, number>();
  private readonly columns: number[][] = [];

  constructor(private readonly config: ModelConfig) {}

  /**
   * Adds the plans of one row, in order.
   * @param length own tokens of the row: the default span is [0, length)
   * @throws InputError as `checkSteering`
   */
  add(row: number, plans: readonly Steering[], length: number, name: string): void {
    for (const plan of plans) {
      checkSteering(plan, length, name, this.config);
      const [spanStart, spanEnd] = plan.span ?? [0, length];
      this.columns.push([
        row,
        this.indexOf(plan.direction, name),
        plan.layers[0],
        plan.layers[1],
        spanStart,
        spanEnd,
        plan.magnitude,
      ]);
    }
  }

  private indexOf(direction: Float32Array, name: string): number {
    const known = this.directions.get(direction);
    if (known !== undefined) return known;
    checkDirection(direction, name);
    const index = this.directions.size;
    this.directions.set(direction, index);
    return index;
  }

  build(): NativeSteering {
    const width = this.config.hidden_size;
    const vectors = new Float32Array(this.directions.size * width);
    for (const [direction, index] of this.directions) vectors.set(direction, index * width);
    const column = (i: number): Int32Array => Int32Array.from(this.columns, (entry) => entry[i]);
    return {
      vectors,
      row: column(0),
      vector: column(1),
      layerStart: column(2),
      layerEnd: column(3),
      spanStart: column(4),
      spanEnd: column(5),
      magnitude: Float32Array.from(this.columns, (entry) => entry[6]),
    };
  }
}
