// The vector engine in its two number formats; F64 exists in plain loops only.
#include "fast.h"

#include "fast_attention.h"
#include "fast_linear.h"
#include "fast_linear_backward.h"
#include "fast_rows.h"
#include "plain_loss.h"

#include "fast_loss.h"

namespace steerlab {

template class FastBackend<F32>;
template class FastBackend<BF16>;

}  // namespace steerlab
