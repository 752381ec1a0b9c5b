import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Child } from './child.js';
import type { Box, Lab } from './lab.js';
import { eventually } from './machine.js';

export interface KamailioOptions {
  readonly box: Box;
  readonly address: string;
  readonly domain: string;
  /** user → password */
  readonly users: Readonly<Record<string, string>>;
  /** Milliseconds a phone may ring. */
  readonly ringing?: number;
  /** Refuses every new call with 503. */
  readonly full?: boolean;
}

/**
 * The SIP service behind the border, and the control without one: Debian's Kamailio as registrar (in memory, RFC 3327 Path),
 * digest for REGISTER and INVITE with its own nonces, routing with Record-Route. No NAT help at all.
 */
export class Kamailio implements AsyncDisposable {
  readonly address: string;
  readonly #child: Child;

  private constructor(address: string, child: Child) {
    this.address = address;
    this.#child = child;
  }

  static async start(lab: Lab, options: KamailioOptions): Promise<Kamailio> {
    const folder = lab.room(`kamailio-${options.box}-${options.address}`);
    const file = join(folder, 'kamailio.cfg');
    writeFileSync(file, configuration(options, folder));
    const child = new Child(
      lab.inside(options.box, 'kamailio', [
        '-DD',
        '-E',
        '-f',
        file,
        '-w',
        folder,
        '-m',
        '64',
        '-M',
        '8',
        '-x',
        'fm',
        '-X',
        'fm',
      ]),
      join(folder, 'log'),
      { cwd: folder },
    );
    const kamailio = new Kamailio(options.address, child);
    await eventually(500, 'kamailio', () => {
      if (child.code !== undefined) throw new Error(`kamailio ended: ${child.output()}`);
      return lab.run(options.box, 'ss', ['-Hlun', `src ${options.address}`]).includes(':5060') ? true : undefined;
    });
    return kamailio;
  }

  log(): string {
    return this.#child.output();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stop();
  }
}

function configuration(options: KamailioOptions, folder: string): string {
  const passwords = Object.entries(options.users)
    .map(([user, password]) => `  $sht(pw=>${user}) = "${password}";`)
    .join('\n');
  return `#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=off
server_signature=yes
listen=udp:${options.address}:5060
listen=tcp:${options.address}:5060
alias="${options.domain}"
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tm.so"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "maxfwd.so"
loadmodule "kex.so"
loadmodule "auth.so"
loadmodule "htable.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "path.so"
loadmodule "ctl.so"
modparam("ctl", "binrpc", "unix:${folder}/ctl")
modparam("htable", "htable", "pw=>size=8;")
modparam("usrloc", "db_mode", 0)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 0)
modparam("registrar", "append_branches", 1)
modparam("registrar", "min_expires", 10)
modparam("tm", "fr_timer", 8000)
modparam("tm", "fr_inv_timer", ${options.ringing ?? 60_000})
modparam("rr", "enable_full_lr", 1)

event_route[htable:mod-init] {
${passwords}
}

request_route {
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (is_method("CANCEL")) {
    if (t_check_trans()) t_relay();
    exit;
  }
  if (has_totag()) {
    if (loose_route()) { t_relay(); exit; }
    if (is_method("ACK")) {
      if (t_check_trans()) t_relay();
      exit;
    }
    if (uri == myself) { sl_send_reply("404", "Not here"); exit; }
    t_relay();
    exit;
  }
  t_check_trans();
  if (is_method("REGISTER")) {
    if ($au == $null || !pv_www_authenticate("$td", "$sht(pw=>$au)", "0")) { www_challenge("$td", "1"); exit; }
    if ($au != $tU) { sl_send_reply("403", "Not your address"); exit; }
    if (!save("location")) sl_reply_error();
    exit;
  }
  if (is_method("OPTIONS") && uri == myself && $rU == $null) { sl_send_reply("200", "OK"); exit; }
  ${options.full === true ? 'if (is_method("INVITE")) { sl_send_reply("503", "Full"); exit; }' : ''}
  if ($au == $null || !pv_proxy_authenticate("$fd", "$sht(pw=>$au)", "0")) { proxy_challenge("$fd", "1"); exit; }
  consume_credentials();
  # What a phone preloads for its way here has done its work.
  remove_hf("Route");
  if (is_method("INVITE|SUBSCRIBE")) record_route();
  if (!lookup("location")) { sl_send_reply("404", "Not registered"); exit; }
  if (!t_relay()) sl_reply_error();
}
`;
}
