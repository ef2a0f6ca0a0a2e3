/* What the build makes of eval/report.css and eval/report.js (CMakeLists.txt): their text, terminated.
 * Neither may hold "</style" or "</script". */
#ifndef VS2_EVAL_REPORT_ASSETS_H
#define VS2_EVAL_REPORT_ASSETS_H

extern const char report_css[], report_js[];

#endif
