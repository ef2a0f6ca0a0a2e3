#ifndef VS2_BASE_CLOCK_H
#define VS2_BASE_CLOCK_H

/* Seconds on a steady clock, from any start: differences mean something. */
double clock_seconds(void);

#endif
