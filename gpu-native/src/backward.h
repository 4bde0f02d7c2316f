// The backward pass over the tail (question tokens) of a training Pass; steps are numbered as in Pass::block, primed.
//
//   forward                               backward (n = tail tokens; last block from 4 on: wanted ones only)
//   1 x = norm(h)                         1' dh += norm'(dx)           (not in the first block)
//   2 qkv = x W_qkv + LoRA                2' dx, dA, dB of q k v
//   3 rotate; store k, v                  3' rotate back
//   4 att = attention(q, k, v)            4' dqkv; keys of the context are constants
//   5 h += att W_o + LoRA; x2 = norm(h)   5' datt, dA, dB of o         (dh += norm'(dx2) before it)
//   6 gu = x2 W_gate,up + LoRA            6' dx2, dA, dB of gate up
//   7 swi = silu(g) * u                   7' dgu
//   8 h += swi W_down + LoRA              8' dswi, dA, dB of down
#pragma once
#include <vector>

#include "lora.h"
#include "pass.h"

namespace steerlab {

struct Backward {
  Model& model;
  const Pass& pass;
  const PassPlan& plan;
  const FlatLayout& layout;
  const Adapter& adapter;
  const DeviceBuffer& grads;
  const PassOptions& options;

  // dfinal (wanted tokens of the tail, C) act: with respect to the final-normed residual stream. Each row of the plan that lies in
  // the tail is one example.
  void run(const void* dfinal, const Job& job);

 private:
  // The tail of a token set: n tokens whose saved activations begin at row `row0` of each arena; example i owns
  // [offsets[i], offsets[i + 1]) of them.
  struct Rows {
    int n, row0, examples;
    const int32_t* offsets;  // device
    DropoutKey key;
  };
  Rows tail_of(const TokenSet& set, const char* name);
  void mlp(int layer, const Rows& rows, void* dh);
  void attention_output(int layer, const Rows& rows, const void* dh, void* datt);
  void attention(int layer, const Rows& tail, const void* datt, bool last, void* dh);
  void project(int layer, std::initializer_list<int> projections, void* dx, const void* dy, int ldy, const void* input, const Rows& rows);
  LoraGrad gradient_of(int layer, int projection) const;
  void* scratch(const char* name, int64_t elements);
};

}  // namespace steerlab
