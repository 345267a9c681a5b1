#include "kernels/common/vec_avx512.h"
// The Vec of this unit comes first.
#include "kernels/vec_functions_of_unit.h"

namespace mpeft::kernels {

VecFunctions vec_functions_avx512() { return vec_functions(); }

}  // namespace mpeft::kernels
