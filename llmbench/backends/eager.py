from llmbench import plugins


class Eager:
    class Options(plugins.Options):
        pass
