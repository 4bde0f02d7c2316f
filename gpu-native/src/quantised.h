// Block-quantised weights as llama.cpp stores them in GGUF files, turned into plain numbers while a model loads.
//
// A row of a matrix is a whole number of blocks; a block holds a few scales and the low-bit integers of 32 or 256 values.
// Formulas and layouts: ggml's quantisation reference (ggml-quants.c, dequantize_row_*); f32 arithmetic in the same order, so that
// the values equal the reference's bit for bit. One plain loop per format is its own slow twin: loading is bound by memory.
// Not here: the IQ, TQ and FP4 families, which TypeScript refuses by name.
#pragma once
#include <cstdint>
#include <string>

#include "backend.h"

namespace steerlab {

struct BlockFormat {
  const char* name;  // as in the contract: "q4_k"
  int values;        // per block
  int bytes;         // per block
  void (*decode)(const uint8_t* block, float* out);  // out (values)
};

// The format of that name, or null.
const BlockFormat* find_block_format(const std::string& name);

// Decodes `count` values (whole blocks) into `out` of type `to`, F32 or BF16 (rounded to nearest even), on all processors.
void decode_blocks(const BlockFormat& format, const void* blocks, int64_t count, DType to, void* out);

}  // namespace steerlab
