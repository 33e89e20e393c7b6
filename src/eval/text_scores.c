// Scores over answers: agreement with ten people, POPE's yes and no, the letter of a choice.
#include "eval/text_metrics.h"

#include <string.h>

drt_status drt_vqa_score(double *score, const char *prediction, const char *const *references, int n,
                         drt_answer_rules rules, drt_error *err) {
    *score = 0;
    if (n != 10) return drt_fail(err, DRT_EDATA, "%d reference answers; the score is defined for 10", n);
    bool differ = false;
    for (int i = 1; i < n; i++) differ |= strcmp(references[i], references[0]) != 0;
    bool official = rules != DRT_ANSWER_TEXTVQA;
    drt_text said = {0}, meant = {0};
    drt_answer_normalise(&said, prediction, official ? DRT_ANSWER_VQA : rules);
    int k = 0;
    for (int i = 0; i < n && !said.failed && !meant.failed; i++) {
        drt_text_free(&meant);
        if (official && !differ) drt_text_puts(&meant, references[i]);
        else drt_answer_normalise(&meant, references[i], official ? DRT_ANSWER_VQA_REFERENCE : rules);
        k += !meant.failed && !said.failed && !strcmp(said.bytes, meant.bytes);
    }
    bool failed = said.failed || meant.failed;
    drt_text_free(&said);
    drt_text_free(&meant);
    if (failed) return drt_fail(err, DRT_ENOMEM, "no memory to normalise an answer");
    // k subsets miss one match, the others miss none.
    double short_of_one = k > 3 ? 1 : k > 0 ? (k - 1) / 3.0 : 0, whole = k > 2 ? 1 : k / 3.0;
    *score = (k * short_of_one + (n - k) * whole) / n;
    return DRT_OK;
}

bool drt_pope_says_yes(const char *answer) {
    size_t n = strcspn(answer, "."), length = 0;
    char word[4];
    for (size_t i = 0; i <= n; i++) {
        char c = i < n ? answer[i] : ' ';
        if (c == ',') continue;
        if (c != ' ') {
            if (length < sizeof word) word[length] = c;
            length++;
            continue;
        }
        if (length == 2 && (!memcmp(word, "No", 2) || !memcmp(word, "no", 2))) return false;
        if (length == 3 && !memcmp(word, "not", 3)) return false;
        length = 0;
    }
    return true;
}

void drt_pope_add(drt_pope *p, bool predicted, bool label) {
    if (predicted) *(label ? &p->yes_yes : &p->yes_no) += 1;
    else *(label ? &p->no_yes : &p->no_no) += 1;
}

static double ratio(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : 0; }

drt_pope_metrics drt_pope_summary(const drt_pope *p) {
    int64_t n = p->yes_yes + p->yes_no + p->no_yes + p->no_no;
    drt_pope_metrics m = {.accuracy = ratio(p->yes_yes + p->no_no, n),
                          .precision = ratio(p->yes_yes, p->yes_yes + p->yes_no),
                          .recall = ratio(p->yes_yes, p->yes_yes + p->no_yes),
                          .yes_rate = ratio(p->yes_yes + p->yes_no, n)};
    double sum = m.precision + m.recall;
    m.f1 = sum > 0 ? 2 * m.precision * m.recall / sum : 0;
    return m;
}

int drt_choice_answer(const char *answer, int n) {
    static const char phrase[] = "The answer is ";
    size_t length = strlen(answer);
    char letter = 0;
    bool option = *answer >= 'A' && *answer <= 'E';
    if (option && (length == 1 || (answer[1] == '.' && answer[2] == ' '))) letter = *answer;
    else {
        int hits = 0;
        for (const char *p = answer; (p = strstr(p, phrase));) {
            const char *found = p + sizeof phrase - 1;
            p++;
            if (*found < 'A' || *found > 'Z' || !found[1] || found[1] == '\n') continue;
            letter = *found;
            hits++;
            p = found + 2;
        }
        if (hits != 1) letter = 0;
    }
    if (n > 5) n = 5;
    return letter && letter - 'A' < n ? letter - 'A' : -1;
}
