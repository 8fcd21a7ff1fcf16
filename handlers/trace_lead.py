"""Tell what happened to a lead and why.

Called by: action `pancake_trace_lead`, from the Settings tabs and the managers' screen of leads.
"""

from leads.adapters.hasura_calls import ActionCall, Answer
from leads.domain.trace import document, read_language, read_search, tell_stories
from leads.domain.trace_event import StoredEvent
from leads.runtime import Runtime


async def trace_lead(runtime: Runtime, call: ActionCall) -> Answer:
    """Answer the stories of the leads that `text` names, in the language `lang`. Raises BadRequest."""
    search, language = read_search(call.input.get("text")), read_language(call.input.get("lang"))
    now = runtime.clock.now()
    params = search.params(runtime.digester, now, language)
    async with runtime.db.work_slot(of_list=True):
        events = await runtime.db.fetch_all("trace_lead/load_events", params, StoredEvent)
    return document(search.text, tell_stories(events, now))
