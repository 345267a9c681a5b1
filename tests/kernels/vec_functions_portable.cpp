#include "kernels/common/vec_portable.h"
// The Vec of this unit comes first.
#include "kernels/vec_functions_of_unit.h"

namespace mpeft::kernels {

VecFunctions vec_functions_portable() { return vec_functions(); }

}  // namespace mpeft::kernels
