/** What `drawbridge help` prints. */
export const HELP = `drawbridge [COMMAND] [-c FILE] [--json]

  up                        run the border (the default)
  check                     read the configuration and list everything that is wrong with it
  doctor                    what this machine can do, and how to get the rest
  calls [CALL]              calls under way, or one of them with its media
  calls end CALL            end a call
  bindings [WORD]           registrations, and how their NATs are kept open
  trunks                    configured peers: whether they live, and their calls
  trace CALL [full]         both legs of a call as a ladder; full adds the messages
  subscribers list|add|remove|import
                            who may register (works while the border runs and while it doesn't)
  forward USER@DOMAIN [unconditional|busy|no-answer|offline|dnd|reset …]
                            where calls to somebody go instead
  drain                     take no new calls; those under way go on
  help                      this text

  -c FILE                   the configuration; else DRAWBRIDGE_CONFIG, else drawbridge.yaml
                            in this folder, else an embedded default with two demo subscribers
  --json                    the same as one JSON document
  --password PASSWORD       for subscribers add; without it one is made and printed
  --version                 which version this is

Exit status: 0 done, 1 failed, 2 asked wrongly or the configuration has faults.`;
