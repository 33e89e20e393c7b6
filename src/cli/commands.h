// The commands of drt, one file each. A command gets its own name as argv[0] and returns the exit status:
// 0 done, 1 failed, 2 wrong usage; a training that a signal stopped gives 128 and the signal's number.
#ifndef DRT_CLI_COMMANDS_H
#define DRT_CLI_COMMANDS_H

int drt_cli_shapes(int argc, char **argv);
int drt_cli_train(int argc, char **argv);
int drt_cli_data(int argc, char **argv);
int drt_cli_runs(int argc, char **argv);
int drt_cli_chat(int argc, char **argv);
int drt_cli_eval(int argc, char **argv);
int drt_cli_probe(int argc, char **argv);
int drt_cli_new(int argc, char **argv);
int drt_cli_tokenizer(int argc, char **argv);
int drt_cli_assemble(int argc, char **argv);
int drt_cli_convert(int argc, char **argv);
int drt_cli_merge(int argc, char **argv);
int drt_cli_inspect(int argc, char **argv);
int drt_cli_verify(int argc, char **argv);
int drt_cli_replay(int argc, char **argv);
int drt_cli_plan(int argc, char **argv);
int drt_cli_gps(int argc, char **argv);
int drt_cli_sea_labels(int argc, char **argv);
int drt_cli_words(int argc, char **argv);
int drt_cli_demo(int argc, char **argv);
int drt_cli_ablate(int argc, char **argv);

#endif
