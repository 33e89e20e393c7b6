// The lines of run.jsonl.
#include "train/run_parts.h"

#include <math.h>
#include <stdio.h>

drt_status drt_run_log_step(drt_run *u, const drt_step_report *s, double seconds, const char *spike, bool hashed,
                            drt_error *err) {
    char name[80];
    drt_log_begin(u->log, u->step);
    drt_log_number(u->log, "lr", s->lr);
    drt_log_number(u->log, "loss", s->loss);
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        if (isnan(s->part[k])) continue;
        snprintf(name, sizeof name, "loss.%s", drt_objectives[k].name);
        drt_log_number(u->log, name, s->part[k]);
        if (s->score[k].count > 0)
            drt_log_number(u->log, drt_objectives[k].score, s->score[k].hits / s->score[k].count);
    }
    for (int k = 0; u->t.m->extra.balance && k < DRT_OBJECTIVES; k++) {
        if (isnan(s->part[k])) continue;
        snprintf(name, sizeof name, "weight.%s", drt_objectives[k].name);
        drt_log_number(u->log, name,
                       exp(-drt_row(u->t.m->extra.balance->tensor.value, k)[0]) * drt_objective_weight(u->r, k));
    }
    if (u->t.m->extra.temperature)
        drt_log_number(u->log, "sea_scale", exp(drt_scalar(&u->t.m->extra.temperature->tensor)));
    if (s->movable > 0) {
        drt_log_number(u->log, "gps_tau", (double)drt_recipe_gps(u->r, u->step - 1, u->t.steps).tau);
        drt_log_number(u->log, "gps_moved", s->moved / s->movable);
    }
    drt_log_number(u->log, "grad_norm", s->grad_norm);
    if (hashed) {
        snprintf(name, sizeof name, "%016llx", (unsigned long long)drt_params_learned(u->t.m->params));
        drt_log_text(u->log, "weights", name);
    }
    if (spike) drt_log_text(u->log, "spike", spike);
    drt_log_number(u->log, "rows", (double)s->rows);
    // As if the tower had looked at every picture: what a run costs shall not depend on what ran before it.
    double spared = s->remembered ? (double)s->remembered * drt_features_flops(u->t.m) : 0;
    drt_log_number(u->log, "flops", u->t.count.flops - u->counted + spared);
    if (u->t.store) drt_log_number(u->log, "remembered", (double)s->remembered);
    drt_log_number(u->log, "seconds", seconds);
    drt_log_number(u->log, "tokens_per_second", seconds > 0 ? (double)s->rows / seconds : 0);
    drt_log_number(u->log, "memory", (double)drt_peak_memory());
    return drt_log_end(u->log, err);
}

drt_status drt_run_log_validation(drt_run *u, const drt_validation_report *v, double seconds, drt_error *err) {
    char name[80];
    drt_log_begin(u->log, u->step);
    drt_log_keep(u->log);
    drt_log_number(u->log, "validation.loss", v->loss);
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        if (isnan(v->part[k])) continue;
        snprintf(name, sizeof name, "validation.%s", drt_objectives[k].name);
        drt_log_number(u->log, name, v->part[k]);
        snprintf(name, sizeof name, "validation.%s", drt_objectives[k].score ? drt_objectives[k].score : "");
        if (v->score[k].count > 0) drt_log_number(u->log, name, v->score[k].hits / v->score[k].count);
    }
    drt_log_number(u->log, "validation.seconds", seconds);
    return drt_log_end(u->log, err);
}
