// Which element of a tile a lane holds: the register layouts of mma.m16n8k16 and ldmatrix, as plain functions.
//
// Source: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type" and "ldmatrix". Kernels use the functions for
// their own stores and masks, the emulation to execute the instructions, and a test walks them to show that every element of a
// tile is held exactly once.
#pragma once
#include "../rng.h"

namespace steerlab {

struct TileIndex {
  int row, col;
};

// A (16, 16), 4 registers of 2: element e in 0..7 of lane l (register e / 2, half e % 2).
STEERLAB_HD inline TileIndex mma_a_index(int lane, int e) {
  const int reg = e / 2;
  return {lane / 4 + (reg % 2) * 8, (lane % 4) * 2 + e % 2 + (reg / 2) * 8};
}
// B (16, 8) [k, n], 2 registers of 2: element e in 0..3.
STEERLAB_HD inline TileIndex mma_b_index(int lane, int e) { return {(lane % 4) * 2 + e % 2 + (e / 2) * 8, lane / 4}; }
// C (16, 8), 4 floats.
STEERLAB_HD inline TileIndex mma_c_index(int lane, int e) { return {lane / 4 + (e / 2) * 8, (lane % 4) * 2 + e % 2}; }

// ldmatrix: the element (of an 8 x 8 matrix) that half `e` of a lane's register receives; transposed swaps the pair.
STEERLAB_HD inline TileIndex ldmatrix_index(int lane, int e) { return {lane / 4, (lane % 4) * 2 + e}; }

// Row address that `lane` hands to ldmatrix.x4 so that registers 0..3 form an A fragment of a row-major (16, 16) tile:
// matrices (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15), (rows 8-15, k 8-15).
STEERLAB_HD inline TileIndex ldmatrix_a_row(int lane) { return {lane % 16, (lane / 16) * 8}; }
// Two B fragments (n 0-7 in registers 0, 1; n 8-15 in 2, 3) of a tile stored [n][k]: rows are n.
STEERLAB_HD inline TileIndex ldmatrix_b_row(int lane) { return {lane % 8 + (lane / 16) * 8, ((lane / 8) % 2) * 8}; }
// The same two B fragments of a tile stored [k][n], read with .trans: rows are k.
STEERLAB_HD inline TileIndex ldmatrix_b_row_transposed(int lane) { return {lane % 16, (lane / 16) * 8}; }

}  // namespace steerlab
