#include "model/storage.h"

#include "base/half.h"

#include <string.h>

const char *const drt_keep_names[DRT_KEEPS] = {
    [DRT_KEEP_F32] = "f32", [DRT_KEEP_BF16] = "bf16", [DRT_KEEP_F16] = "f16", [DRT_KEEP_STORED] = "auto"};

static const char *const names[] = {[DRT_F32] = "F32", [DRT_BF16] = "BF16", [DRT_F16] = "F16"};
const char *drt_storage_name(drt_dtype type) { return names[type]; }

static bool by_word(const drt_slice *s) {
    return !strcmp(s->name, "model.embed_tokens.weight") || !strncmp(s->name, "lm_head.", 8);
}

int drt_storage_grown(const drt_model_files *f, const drt_slice *slice) { return by_word(slice) ? f->grown : 0; }

// The one type in which the files hold all of q, -1 if there is none. *lies: the numbers can be read where they are.
static int type_in_files(const drt_params *p, const drt_param *q, drt_model_files *f, bool *lies) {
    int type = -1;
    *lies = true;
    for (int i = 0; i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        if (s->param != q) continue;
        const drt_weight *found = drt_model_files_find(f, s);
        int k = 0;
        while (found && k < 3 && strcmp(found->dtype, names[k])) k++;
        if (!found || k == 3 || (type >= 0 && type != k)) return -1;
        type = k;
        *lies &= (uintptr_t)found->bytes % 2 == 0 && !drt_storage_grown(f, s);
    }
    return type;
}

void drt_storage_settle(drt_params *p, drt_model_files *f, drt_keep keep, const bool learns[DRT_GROUPS]) {
    for (int i = 0; i < p->n && keep != DRT_KEEP_F32; i++) {
        drt_param *q = p->at[i];
        bool lies = false, trains = learns[q->group];
        if (q->tensor.value.rows == 1 || q->group > DRT_LANGUAGE) continue;
        q->tensor.f16 = keep == DRT_KEEP_F16;
        if (q->tensor.f16) continue;
        int have = type_in_files(p, q, f, &lies);
        bool mapped = !trains && lies && have > DRT_F32 && (keep == DRT_KEEP_STORED || have == DRT_BF16);
        if (mapped) drt_param_store(q, (drt_dtype)have, true);
        // What is new, or has rows that the files lack, is made in f32: it is rounded from its master or not at all.
        else if (keep == DRT_KEEP_BF16 && (trains || (have >= 0 && lies))) drt_param_store(q, DRT_BF16, false);
    }
}

drt_status drt_storage_fill(drt_slice *slice, const drt_weight *found, size_t *left, drt_error *err) {
    enum { RUN = 4096 };
    float room[RUN];
    if (slice->param->mapped) {
        if (!drt_slice_map(slice, found->bytes)) return drt_fail(err, DRT_ENOMEM, "no memory for a list of tensors");
        bool look = found->size <= *left;
        *left -= look ? found->size : *left;
        return look ? drt_layout_finite(found, err) : DRT_OK;
    }
    drt_status status = drt_layout_finite(found, err);
    drt_mat to = drt_slice_numbers(slice);
    int64_t n = drt_weight_elements(found);
    if (!status && to.type == DRT_F32) return drt_weight_to_f32(found, to.data, n, err);
    for (int64_t i = 0; !status && i < n; i += RUN) { // bf16: f16 is kept only where it lies
        int64_t part = n - i < RUN ? n - i : RUN;
        const char *from = (const char *)found->bytes + i * drt_weight_dtype_size(found->dtype);
        drt_weight_numbers(room, found->dtype, from, part);
        drt_f32_to_bf16_n((uint16_t *)to.data + i, room, part);
    }
    return status;
}
