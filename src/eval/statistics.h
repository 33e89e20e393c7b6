// What a few runs say about the truth: Student's t, intervals of means, and Holm's correction for many comparisons.
//
//   drt_interval i = drt_interval_of(differences, seeds);   // i.mean ± i.half covers the truth in 95 % of experiments
//   if (i.p < 0.05) ...                                     // the mean is not 0
//
// Runs are taken as independent draws of a normal distribution whose spread is estimated from them (Student 1908). The
// distribution function for whole degrees of freedom: Abramowitz & Stegun, 26.7.3 and 26.7.4.
#ifndef DRT_EVAL_STATISTICS_H
#define DRT_EVAL_STATISTICS_H

// The probability that |T| is at least |t|; freedom >= 1.
double drt_student_tail(double t, int freedom);
// The q > 0 with P(|T| <= q) = level, level in (0, 1).
double drt_student_quantile(double level, int freedom);

typedef struct {
    int n;       // values that are numbers
    double mean; // NaN of none
    double half; // half of the 95 % interval; NaN of fewer than two, or without spread
    double p;    // two-sided, against a mean of 0; NaN of fewer than two; 1 without spread
} drt_interval;
// NaN among the values is left out. Values that are alike but for rounding say nothing about the spread of others: a
// few counts of right answers coincide easily, and are not the certainty that the formula would make of them.
drt_interval drt_interval_of(const double *values, int n);

// Makes p-values of n comparisons ones that may be held against a level all at once (Holm 1979): the smallest counts as
// often as there are comparisons, the next once less, and none becomes smaller than one before it. NaN is no comparison
// and stays. Returns how many comparisons there were.
int drt_holm(double *p, int n);

#endif
