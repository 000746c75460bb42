// The step's code, compiled once for each set of vector primitives. The file
// that includes this names its entry point in RUN.
#include "codes.h"
#include "vecmath.h"
#include "matmul.h"
#include "pages.h"
#include "gather.h"
#include "store.h"
#include "scan.h"
#include "choose.h"
#include "cold.h"
#include "attend.h"
#include "rows.h"
#include "run.h"
