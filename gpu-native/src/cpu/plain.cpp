// The plain twin in its three number formats.
#include "plain.h"

#include "plain_attention.h"
#include "plain_linear.h"
#include "plain_loss.h"
#include "plain_rows.h"

namespace steerlab {

template class PlainBackend<F64>;
template class PlainBackend<F32>;
template class PlainBackend<BF16>;

}  // namespace steerlab
