"""The five tabs in a real Chromium, on a running system: what an operator clicks, types and then sees."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.journeys.system import System, eventually

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
LOOPBACK = ("127.0.0.1", "localhost")
DESK, TABLET, PHONE = {"width": 1280, "height": 800}, {"width": 960, "height": 740}, {"width": 360, "height": 740}
CUT = """[...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
    .map(one => one.innerText)"""
"""What of a table can be seen by moving it sideways only, as a button at its end."""
TABS = ("Overview", "Sequences", "Email", "Users", "Analytics")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if "browser" in os.environ.get("NURTURE_REQUIRE", "").split():
            pytest.fail(f"a browser is required here, and {CHROMIUM} is not installed")
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, system: System) -> Iterator[BrowserContext]:
    """Signed in by the link of `nurture open`."""
    context = chromium.new_context(viewport=DESK, base_url=str(system.api.base_url))
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(system.cli("open").stdout.strip())
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.close()
    yield context
    context.close()


def watched(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what it should never do: complain on its console, or ask anybody outside of this machine."""
    page, sins = context.new_page(), []
    page.on("console", lambda said: sins.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: sins.append(str(error)))
    page.on("request", lambda asked: None if urlsplit(asked.url).hostname in LOOPBACK else sins.append(asked.url))
    return page, sins


@pytest.fixture
def page(signed_in: BrowserContext) -> Iterator[Page]:
    page, sins = watched(signed_in)
    page.goto("/admin/dashboard")
    yield page
    page.close()
    assert sins == []


def tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Dashboard").get_by_role("link", name=name).click()
    expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")


def live(page: Page) -> None:
    expect(page.locator("#pulse")).to_have_attribute("data-state", "live")


def somebody(system: System, **fields: str) -> str:
    name = f"dash-{uuid4().hex[:8]}"
    system.person(name, **{"email": f"{name}+open@example.test"} | fields)
    return name


def split(system: System) -> str:
    """A sequence with a test of two subjects."""
    kind = f"split-{uuid4().hex[:8]}"
    toml = (
        f'format = 1\ntype = "{kind}"\ntitle = "Split"\n[[steps]]\nwhen = "now"\nsubject = "Hi"\nbody = "Good day."\n'
        + "".join(f'[[steps.variants]]\nname = "{arm}"\nsubject = "{arm}"\n' for arm in ("short", "long"))
    )
    answer = system.command("/admin/api/sequences", content=toml, headers={"content-type": "application/toml"})
    assert answer.status_code == 201, answer.text
    return kind


def test_signing_in_with_the_key_and_out_again(chromium: Browser, system: System) -> None:
    context = chromium.new_context(viewport=PHONE, base_url=str(system.api.base_url), color_scheme="dark")
    page, sins = watched(context)
    page.goto("/admin/dashboard/analytics?days=7")
    page.get_by_label("API key").fill(system.api.headers["authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Analytics")).to_be_visible()
    assert page.url.endswith("/admin/dashboard/analytics?days=7")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("API key")).to_be_visible()
    context.close()
    assert sins == []


def test_overview_shows_every_service_and_what_went_wrong(page: Page, system: System) -> None:
    live(page)
    services = page.locator("[data-region=overview] section", has_text="Services")
    for name in ("gateway", "controller", "email", "telegram", "scoring"):
        expect(services.get_by_role("listitem").filter(has_text=name)).to_contain_text("ready")
    # No mail goes to a host without a dot: the provider refuses it, and the page says so by itself.
    refused = somebody(system, email=f"{uuid4().hex[:8]}@nowhere")
    system.answer({"user_id": refused, "sequence_type": "onboarding"})
    errors = page.locator("[data-region=overview] section", has_text="Recent errors")
    expect(errors.get_by_role("link", name="onboarding step 1 by email").first).to_be_visible()
    expect(errors).to_contain_text("failed")
    # And from there on: the message, and its way out of the queue.
    tab(page, "Email")
    live(page)
    queue = page.locator("#queue")
    expect(queue.locator("dd").nth(1)).not_to_have_text("0")
    queue.get_by_role("button", name="Retry failed").click()
    expect(page.get_by_text("sent once more.")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    eventually(lambda: not system.counts().get("pending"), what="the end of the second round")
    page.locator("#queue").get_by_role("button", name="Clear failed").click()
    expect(page.get_by_text("left the queue.")).to_be_visible()
    expect(page.locator("#queue dd").nth(1)).to_have_text("0")


def test_a_sequence_is_triggered_with_override_and_context_and_watched_as_it_moves(page: Page, system: System) -> None:
    kind = f"walk-{uuid4().hex[:8]}"
    step = '[[steps]]\n{}\nchannel = "auto"\nsubject = "Hi"\nbody = "Your goal: {{{{ context.goal }}}}."\n'
    toml = f'format = 1\ntype = "{kind}"\ntitle = "Walk"\n' + "".join(
        step.format(due) for due in ('when = "now"', 'delay = "30d"')
    )
    answer = system.command("/admin/api/sequences", content=toml, headers={"content-type": "application/toml"})
    assert answer.status_code == 201, answer.text
    name = somebody(system, telegram_chat_id=str(uuid4().int % 10**9 * 10 + 1))
    tab(page, "Sequences")
    page.get_by_role("row", name=kind).get_by_role("button", name="Pause").click()
    expect(page.get_by_text(f"{kind} is paused.", exact=False).first).to_be_visible()
    # A second window watches, before there is anything to see.
    page.goto(f"/admin/dashboard/sequences?user={name}")
    live(page)
    expect(page.locator("#active")).to_contain_text("Nobody is in a sequence here")
    other, sins = watched(page.context)
    other.goto("/admin/dashboard/sequences")
    form = other.locator("#trigger")
    form.get_by_label("Person").fill(name)
    form.get_by_label("Sequence").select_option(kind)
    form.get_by_label("Channel").select_option("telegram")
    form.get_by_label("Context").fill("goal: 5 km")
    form.get_by_role("button", name="Trigger").click()
    expect(other.get_by_text("must be a JSON object").first).to_be_visible()
    expect(form.get_by_label("Person")).to_have_value(name)
    expect(form.get_by_label("Sequence")).to_have_value(kind)
    form.get_by_label("Context").fill('{"goal": "5 km"}')
    form.get_by_role("button", name="Trigger").click()
    expect(other.get_by_text(f"{kind} started for {name}", exact=False)).to_be_visible()
    row = page.locator("#active").get_by_role("row", name=kind)
    expect(row).to_contain_text("step 1 of 2")
    expect(row).to_contain_text("paused")
    other.get_by_role("row", name=kind).last.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("step 2 of 2")
    expect(row).not_to_contain_text("paused")
    expect(row).to_contain_text("telegram")
    (message,) = eventually(lambda: system.deliveries(user=name))
    told = system.api.get(f"/admin/api/deliveries/{message['id']}").json()["delivery"]
    assert told["channel"] == "telegram" and "Your goal: 5 km." in told["message_content"]
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    other.close()
    assert ["status of 400" in sin for sin in sins] == [True], (
        "the browser tells of the refused form, and of nothing else"
    )


def test_a_test_mail_is_sent_seen_to_arrive_and_found_in_the_inbox(page: Page, system: System) -> None:
    address = f"{uuid4().hex[:8]}+open@example.test"
    tab(page, "Email")
    form = page.locator("#test")
    form.get_by_label("Address").fill(address)
    form.get_by_label("Name").fill("Grace")
    form.get_by_label("Template").select_option("welcome_email")
    form.get_by_role("button", name="Send").click()
    row = page.locator("#tests").get_by_role("row", name=address)
    expect(row).to_contain_text("opened")
    with page.context.expect_page() as opening:
        row.get_by_role("link", name="In the inbox").click()
    inbox = opening.value
    expect(inbox.get_by_text(address).first).to_be_visible()
    inbox.close()
    page.locator("#queue").get_by_role("button", name="Process pending").click()
    expect(page.get_by_text("Nothing was due.")).to_be_visible()
    page.get_by_label("How many days").select_option("30")
    page.wait_for_url("**/email?days=30*")


def test_a_person_is_found_and_their_wishes_are_set_and_messages_explained(page: Page, system: System) -> None:
    name = somebody(system, telegram_chat_id=str(uuid4().int % 10**9 * 10 + 1))
    system.answer({"user_id": name, "sequence_type": "onboarding"})
    tab(page, "Users")
    page.get_by_role("searchbox").fill(name)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("row", name=name).get_by_role("link").click()
    expect(page.get_by_text("Why: ", exact=False).first).to_be_visible()
    wishes = page.locator("#preferences")
    wishes.get_by_label("Preferred channel").select_option("telegram")
    wishes.get_by_label("Preferred time").fill("evening")
    wishes.get_by_label("Time zone").fill("Asia/Tokyo")
    wishes.get_by_role("group", name="Email").get_by_label("Wants announcements").uncheck()
    wishes.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Preferences saved.")).to_be_visible()
    told = system.api.get(f"/admin/api/users/{name}/preferences").json()
    assert (told["preferred_channel"], told["preferred_time"], told["timezone"]) == (
        "telegram",
        "evening",
        "Asia/Tokyo",
    )
    assert told["email"]["opt_in_sequences"] and not told["email"]["opt_in_announcements"]
    page.get_by_role("button", name="Ask whether the address is theirs").click()
    expect(page.get_by_text("asks whether it is theirs", exact=False)).to_be_visible()
    page.get_by_role("button", name="Make a link").click()
    expect(page.get_by_role("link", name="start=", exact=False)).to_be_visible()
    page.goto(f"/admin/dashboard/users/{name}")
    page.get_by_role("link", name="onboarding step 1").click()
    expect(page.get_by_role("heading", name="What became of it")).to_be_visible()
    expect(page.get_by_text("What became of it").locator("xpath=..")).to_contain_text("sent")


def test_a_file_is_chosen_and_imported(page: Page, tmp_path: Path) -> None:
    name = f"file-{uuid4().hex[:8]}"
    file = tmp_path / "people.csv"
    lines = [f"{name}-{n},Flora,{name}-{n}@example.test" for n in range(1_500)]
    file.write_text("external_id,first_name,email\n" + "\n".join([*lines, f"{name}-x,Flora,nowhere"]) + "\n")
    tab(page, "Users")
    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("status").filter(has_text="created")).to_contain_text("1\u2009500 created, 0 updated")
    expect(page.get_by_role("row").filter(has_text="1502")).to_contain_text("email")
    page.get_by_role("link", name="To the people").click()
    page.get_by_role("searchbox").fill(f"{name}-7@")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="Flora")).to_be_visible()


def test_analytics_count_what_was_sent(page: Page, system: System) -> None:
    system.answer({"user_id": somebody(system), "sequence_type": "onboarding"})
    eventually(lambda: system.api.get("/admin/api/nurture/analytics?days=7").json()["totals"]["delivered"])
    tab(page, "Analytics")
    page.get_by_label("How many days").select_option("7")
    page.wait_for_url("**/analytics?days=7")
    told = system.api.get("/admin/api/nurture/analytics?days=7").json()["totals"]
    shown = page.locator("dl.counts div", has_text="planned").locator("dd").first
    assert int(shown.inner_text().replace("\u2009", "")) <= told["planned"]
    expect(page.get_by_role("img", name="Delivered, opened and clicked messages of 7 days")).to_be_visible()
    expect(page.get_by_role("row", name="onboarding").first).to_be_visible()


def test_analytics_say_which_words_do_better_as_far_as_that_can_be_told(page: Page, system: System) -> None:
    name, kind = (
        somebody(system, telegram_chat_id=str(uuid4().int % 10**9 * 10 + 3), preferred_channel="telegram"),
        split(system),
    )
    system.answer({"user_id": name, "sequence_type": kind})
    (message,) = system.deliveries(user=name)
    path = f"/admin/api/nurture/analytics/variants?sequence_type={kind}"
    eventually(
        lambda: sum(arm["conversions"] for arm in system.api.get(path).json()["steps"][0]["arms"]), what="a reply"
    )
    tab(page, "Analytics")
    section = page.locator("section", has=page.get_by_role("heading", name=f"Which words do better: {kind}, step 1"))
    expect(section).to_contain_text("Too early: 1 person has responded")
    shown = system.api.get(f"/admin/api/deliveries/{message['id']}").json()["delivery"]["variant"]
    expect(section.get_by_role("row", name=shown)).to_contain_text("100.0 %")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [(DESK, "light"), (TABLET, "light"), (PHONE, "dark")],
    ids=["desk-light", "tablet-light", "phone-dark"],
)
def test_every_page_fits_and_can_be_used_by_everybody(
    signed_in: BrowserContext, system: System, size: dict[str, int], scheme: str
) -> None:
    name = somebody(system)
    system.answer({"user_id": name, "sequence_type": "onboarding"})
    (row,) = system.deliveries(user=name)
    system.answer({"user_id": name, "sequence_type": split(system)})
    system.api.post("/admin/api/email/test", json={"email_address": f"{name}@example.test"})
    page, sins = watched(signed_in)
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    paths = ("", "/sequences", "/email", "/users", "/analytics", f"/users/{name}", f"/deliveries/{row['id']}")
    for path in paths:
        page.goto(f"/admin/dashboard{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        assert page.evaluate(CUT) == [], path
        # On a phone and in the dark the pages are the same; their colours are not, and these three have all of them.
        dark = scheme == "dark"
        if dark and path not in ("", "/analytics", f"/users/{name}"):
            continue
        page.evaluate(AXE_FILE_PATH.read_text())
        rules = "{runOnly: ['color-contrast']}" if dark else "{}"
        found = page.evaluate(
            f"axe.run({rules}).then(told => told.violations.map(one => [one.id, one.nodes.map(n => n.html)]))"
        )
        assert found == [], path
    page.close()
    assert sins == []
