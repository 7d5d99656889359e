"""Pure. The pages of signing in, as HTML without a script: sign in, choose a new password, something went wrong.

Everything that is shown is escaped by the template. The stylesheet is a file of its own, so that the policy allows no
inline style either; both schemes of colour, no image, no font, nothing from anywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

STYLE_PATH = "/login/style.css"
# `form-action` holds for redirects after a form, too (CSP 3 §6.4.2): so providers are links, not buttons of a form.
POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; img-src data:"
)

ERRORS = {
    "provider": "Signing in there did not work. Please try again, or ask your administrator.",
    "away": "The provider cannot be reached at the moment. Please try again in a while.",
    "refused": "Your account there is not admitted here. Please ask your administrator.",
    "database": "Signing in is not possible at the moment. Please try again in a while.",
}


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str


_FRAME = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }} – mrproxy</title>
<link rel="stylesheet" href="/login/style.css">
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1><span class="mark" aria-hidden="true"></span>mrproxy</h1>
<h2>{{ title }}</h2>
{% if message %}<p class="message" role="alert">{{ message }}</p>{% endif %}
CONTENT
</main>
</body>
</html>
"""

_SIGN_IN = """\
<form method="post" action="/login">
<input type="hidden" name="csrf_token" value="{{ token }}">
<input type="hidden" name="next" value="{{ back }}">
<label for="name">Name</label>
<input id="name" name="name" value="{{ name }}" required maxlength="300" autocomplete="username" autocapitalize="none"
 spellcheck="false"{% if not name %} autofocus{% endif %}>
<label for="password">Password</label>
<input id="password" name="password" type="password" required maxlength="1024" autocomplete="current-password"
{% if name %} autofocus{% endif %}>
<button type="submit">Sign in</button>
</form>
{% if links %}<p class="or"><span>or</span></p>
<nav aria-label="Other ways to sign in">
{% for link in links %}<a class="button" href="{{ link.url }}">{{ link.label }}</a>
{% endfor %}</nav>{% endif %}
"""

_PASSWORD = """\
<p>Signed in as <strong>{{ name }}</strong>.
{% if is_due %}Choose a password of your own before you go on.{% endif %}</p>
<form method="post" action="/login/password">
<input type="hidden" name="csrf_token" value="{{ token }}">
<input type="hidden" name="next" value="{{ back }}">
<input type="hidden" name="name" value="{{ name }}" autocomplete="username">
<label for="current">Current password</label>
<input id="current" name="current_password" type="password" required maxlength="1024" autocomplete="current-password"
 autofocus>
<label for="new">New password</label>
<input id="new" name="new_password" type="password" required minlength="10" maxlength="1024"
 autocomplete="new-password" aria-describedby="rule">
<p id="rule" class="hint">Ten characters at least; length counts, not kinds of characters.</p>
<label for="again">New password, once more</label>
<input id="again" name="again" type="password" required maxlength="1024" autocomplete="new-password">
<button type="submit">Change password</button>
</form>
<form method="post" action="/logout"><input type="hidden" name="csrf_token" value="{{ token }}">
<button type="submit" class="quiet">Sign out</button></form>
"""

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #f5f6f8; --card: #fff; --line: #d0d5dc; --soft: #59626e;
  --accent: #1f5fd1; --on-accent: #fff; --bad: #a3162a; --bad-paper: #fdecee; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --paper: #14171b; --card: #1d2126; --line: #3a414a;
  --soft: #a3acb8; --accent: #78a8ff; --on-accent: #0d1826; --bad: #ffb3bc; --bad-paper: #3a1a20; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; box-shadow: 0 .5rem 2rem rgb(0 0 0 / .08); overflow-wrap: anywhere; }
h1 { display: flex; align-items: center; gap: .6rem; margin: 0 0 1.25rem; font-size: 1.1rem; letter-spacing: .02em; }
.mark { width: 1.1rem; height: 1.1rem; border-radius: .3rem; background: var(--accent); }
h2 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.2; }
label { display: block; margin: 1rem 0 .3rem; font-weight: 600; }
input { width: 100%; padding: .6rem .7rem; border: 1px solid var(--line); border-radius: .4rem; font: inherit;
  color: inherit; background: var(--paper); }
button, a.button { display: block; width: 100%; margin-top: 1.25rem; padding: .65rem; border: 1px solid var(--accent);
  border-radius: .4rem; font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer;
  color: var(--on-accent); background: var(--accent); }
a.button, button.quiet { margin-top: .6rem; color: var(--ink); background: transparent; border-color: var(--line); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.message { margin: 0 0 1rem; padding: .7rem .9rem; border-radius: .4rem; color: var(--bad);
  background: var(--bad-paper); }
.hint { margin: .3rem 0 0; font-size: .875rem; color: var(--soft); }
.or { display: flex; align-items: center; gap: .8rem; margin: 1.5rem 0 .4rem; color: var(--soft); }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--line); }
"""

_environment = Environment(autoescape=True)
_sign_in = _environment.from_string(_FRAME.replace("CONTENT", _SIGN_IN))
_password = _environment.from_string(_FRAME.replace("CONTENT", _PASSWORD))


def sign_in_page(token: str, back: str, links: Sequence[Link], *, name: str = "", message: str = "") -> str:
    return _sign_in.render(title="Sign in", token=token, back=back, links=links, name=name, message=message)


def password_page(token: str, back: str, name: str, *, is_due: bool, message: str = "") -> str:
    return _password.render(title="New password", token=token, back=back, name=name, is_due=is_due, message=message)
